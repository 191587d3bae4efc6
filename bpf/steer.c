/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * sk_lookup: the server's end. Sees every new connection that comes into a namespace, from near
 * and far, before a socket is chosen for it: refuses it, hands it to the proxy, or lets it through.
 *
 * One copy of the program is loaded for each namespace slot; the slot's number is a constant in
 * the copy, because nothing in the program's context tells namespaces apart.
 *
 * Fails closed: before the first policy set, without the namespace's entry, and when the proxy's
 * listener is gone, a connection that needs it is refused with a reset.
 */

static inline int to_proxy(struct bpf_sk_lookup *ctx, struct state *now, u32 slot)
{
    u32 hash = ctx->remote_port * 2654435761u ^ CTX(remote_ip4);
    u32 worker = now->workers ? (hash >> 8) % now->workers : 0;
    u32 index = (slot * MAX_WORKERS + worker) * 2 + (ctx->family == AF_INET6);
    struct bpf_sock *listener = (struct bpf_sock *)proxy_listeners.lookup(&index);
    long error;

    if (!listener) {
        count(COUNTER_PROXY_ABSENT);
        return SK_DROP;
    }
    error = bpf_sk_assign(ctx, listener, BPF_SK_LOOKUP_F_NO_REUSEPORT);
    bpf_sk_release(listener);
    if (error) {
        count(COUNTER_PROXY_ABSENT);
        return SK_DROP;
    }
    return SK_PASS;
}

/* A connection that cannot be enrolled would be judged by nobody. */
static inline int is_full(void)
{
    u32 zero = 0;
    u64 *judged = judged_now.lookup(&zero);

    return !judged || *judged >= MAX_CONNECTIONS;
}

int on_sk_lookup(struct bpf_sk_lookup *ctx)
{
    struct flow flow = {};
    struct state *now;
    struct namespace *here;
    u32 client, server, road, slot;
    u64 slot_constant;

    if (ctx->protocol != IPPROTO_TCP)
        return SK_PASS;
    asm volatile("%0 = " SLOT_PLACEHOLDER " ll" : "=r"(slot_constant));
    slot = slot_constant;
    now = state_now();
    here = namespaces.lookup(&slot);
    if (!now || !now->epoch || !here || !here->cookie) {
        count(COUNTER_NOT_READY);
        return SK_DROP;
    }
    READ_ADDRESS(ctx, remote, flow.client);
    READ_ADDRESS(ctx, local, flow.server);
    flow.client_port = bpf_ntohs(ctx->remote_port);
    flow.server_port = ctx->local_port;
    client = identity_of_client(now, here, &flow);
    if (client == IDENTITY_PROXY) {
        count(COUNTER_UPSTREAM_ADMITTED);
        return SK_PASS;
    }
    if (flow.server_port == here->proxy_port && is_loopback(flow.server)) {
        /* The proxy's own port is open to steered egress only. */
        flow.netns = here->cookie;
        if (origins.lookup(&flow))
            return to_proxy(ctx, now, slot);
        count(COUNTER_PROXY_PORT_REFUSED);
        return SK_DROP;
    }
    server = identity_of_listener(now, here, flow.server, flow.server_port);
    road = road_of(now->epoch, client, server, flow.server_port) & ROAD_MASK;
    if (road == ROAD_REFUSED) {
        count(COUNTER_SERVER_REFUSED);
        return SK_DROP;
    }
    if (road == ROAD_KERNEL && !is_watched(here, flow.server, flow.server_port)) {
        /* Nobody would enrol the server's socket: its cgroup is not covered. */
        count(COUNTER_UNWATCHED);
        road = ROAD_PROXY;
    }
    if (road == ROAD_KERNEL && is_full()) {
        count(COUNTER_FULL);
        road = ROAD_PROXY;
    }
    if (road == ROAD_PROXY) {
        count(COUNTER_INGRESS_STEERED);
        return to_proxy(ctx, now, slot);
    }
    if (road != ROAD_KERNEL) /* which is counted when the server's end is judged */
        count(COUNTER_ADMITTED);
    return SK_PASS;
}
