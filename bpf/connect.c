/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * cgroup/connect4 and connect6: the client's end, before a connection is made.
 *
 * Refuses what L3/L4 policy denies, at once and with EPERM, and steers egress that needs the
 * proxy to the proxy's listener in the client's own namespace. Destinations on this node are
 * enforced at the server's end (steer.c); refusing them here is a courtesy to the client.
 *
 * Fails closed: egress that must be steered and cannot be is refused.
 */

#define CONNECT_ALLOW 1
#define CONNECT_EPERM 0

/* 0: leave the destination as it is; a port: go to the proxy there; -1: refuse.
 * What is found out about the connection is left in the socket's storage for connection.c. */
static inline int connect_road(struct bpf_sock_addr *ctx, struct bpf_sock *sk, struct flow *flow)
{
    struct state *now = state_now();
    u64 cookie = flow->netns;
    struct namespace *here = namespace_of(cookie);
    u32 client, server = IDENTITY_WORLD, road;
    struct conn empty = {};
    struct conn *conn;
    int local = 0, judged_there = 0;

    if (!now || !now->epoch) {
        count(COUNTER_CONNECT_EARLY);
        return 0; /* the server's end refuses it, if that is covered */
    }
    conn = conns.sk_storage_get(sk, &empty, BPF_SK_STORAGE_GET_F_CREATE);
    if (!conn) {
        count(COUNTER_STORAGE_FAILED);
        return -1;
    }
    conn->peer.client_port = 0; /* a socket may be connected again */
    conn->origin_port = 0;
    conn->judged = 0;
    client = identity_of_task(now, cookie, here);
    if (flow->client_port) { /* only a bound socket can be the proxy's */
        struct upstream *own = upstreams.lookup(flow);

        if (own && own->socket == bpf_get_socket_cookie(ctx))
            client = IDENTITY_PROXY;
    }
    conn->client = client;
    if (is_loopback(flow->server) || is_any(flow->server)) {
        local = 1; /* connecting to any address reaches loopback */
        judged_there = 1;
        server = here ? identity_of_listener(now, here, flow->server, flow->server_port) : client;
    } else {
        struct identity *found = identity_at(now->epoch, flow->server);
        if (found) {
            server = found->id;
            local = found->flags & FLAG_LOCAL;
            if (local) {
                u32 slot = found->slot;
                struct namespace *there = namespaces.lookup(&slot);
                if (there && there->cookie) {
                    judged_there = 1;
                    server = identity_of_listener(now, there, flow->server, flow->server_port);
                }
            }
        }
    }
    conn->local = local;
    if (client == IDENTITY_PROXY) {
        count(COUNTER_CONNECT_PROXY);
        return 0;
    }
    if (client == IDENTITY_STRANGER) {
        count(COUNTER_CONNECT_UNKNOWN);
        return 0; /* judged by its address at the server's end */
    }
    road = road_of(now->epoch, client, server, flow->server_port) & ROAD_MASK;
    conn->judged = road == ROAD_KERNEL;
    if (road == ROAD_REFUSED) {
        count(COUNTER_CONNECT_REFUSED);
        return -1;
    }
    if (road != ROAD_PROXY || judged_there) {
        count(COUNTER_CONNECT_ALLOWED);
        return 0;
    }
    if (!here || !here->proxy_port) {
        count(COUNTER_EGRESS_UNSTEERABLE);
        return -1;
    }
    conn->origin_port = flow->server_port;
    __builtin_memcpy(conn->origin, flow->server, sizeof(conn->origin));
    conn->local = 1;
    count(COUNTER_EGRESS_STEERED);
    return here->proxy_port;
}

int on_connect4(struct bpf_sock_addr *ctx)
{
    struct flow flow = {.netns = bpf_get_netns_cookie(ctx)};
    struct bpf_sock *sk = ctx->sk;
    int port;

    if (ctx->protocol != IPPROTO_TCP || !sk)
        return CONNECT_ALLOW;
    from_ip4(flow.client, sk->src_ip4);
    from_ip4(flow.server, ctx->user_ip4);
    flow.client_port = sk->src_port;
    flow.server_port = bpf_ntohs(ctx->user_port);
    port = connect_road(ctx, sk, &flow);
    if (port < 0)
        return CONNECT_EPERM;
    if (!port)
        return CONNECT_ALLOW;
    ctx->user_ip4 = V4_LOOPBACK;
    ctx->user_port = bpf_htons(port);
    return CONNECT_ALLOW;
}

int on_connect6(struct bpf_sock_addr *ctx)
{
    struct flow flow = {.netns = bpf_get_netns_cookie(ctx)};
    struct bpf_sock *sk = ctx->sk;
    int port;

    if (ctx->protocol != IPPROTO_TCP || !sk)
        return CONNECT_ALLOW;
    flow.client[0] = sk->src_ip6[0];
    flow.client[1] = sk->src_ip6[1];
    flow.client[2] = sk->src_ip6[2];
    flow.client[3] = sk->src_ip6[3];
    flow.server[0] = ctx->user_ip6[0];
    flow.server[1] = ctx->user_ip6[1];
    flow.server[2] = ctx->user_ip6[2];
    flow.server[3] = ctx->user_ip6[3];
    flow.client_port = sk->src_port;
    flow.server_port = bpf_ntohs(ctx->user_port);
    port = connect_road(ctx, sk, &flow);
    if (port < 0)
        return CONNECT_EPERM;
    if (!port)
        return CONNECT_ALLOW;
    if (is_ip4(flow.server)) {
        ctx->user_ip6[3] = V4_LOOPBACK; /* stays in the mapped form */
    } else {
        ctx->user_ip6[0] = 0;
        ctx->user_ip6[1] = 0;
        ctx->user_ip6[2] = 0;
        ctx->user_ip6[3] = bpf_htonl(1);
    }
    ctx->user_port = bpf_htons(port);
    return CONNECT_ALLOW;
}
