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

/* 0: leave the destination as it is; a port: go to the proxy there; -1: refuse. */
static inline int connect_road(struct bpf_sock_addr *ctx, struct flow *flow)
{
    struct state *now = state_now();
    u64 cookie = flow->netns;
    struct namespace *here = namespace_of(cookie);
    u32 client, server = IDENTITY_WORLD, road;
    int local = 0;

    if (!now || !now->epoch)
        return 0;
    if (upstreams.lookup(flow))
        return 0; /* the proxy's own */
    client = identity_of_task(now, cookie, here);
    if (!client)
        return 0;
    if (is_loopback(flow->server)) {
        local = 1;
        server = here ? identity_of_listener(here, flow->server, flow->server_port) : client;
    } else {
        struct identity *found = identity_at(now->epoch, flow->server);
        if (found) {
            server = found->id;
            local = found->flags & FLAG_LOCAL;
            if (local) {
                u32 slot = found->slot;
                struct namespace *there = namespaces.lookup(&slot);
                if (there && there->cookie)
                    server = identity_of_listener(there, flow->server, flow->server_port);
            }
        }
    }
    road = road_of(now->epoch, client, server, flow->server_port);
    if (road == ROAD_REFUSED) {
        count(COUNTER_CONNECT_REFUSED);
        return -1;
    }
    if (road != ROAD_PROXY || local)
        return 0;
    if (!here || !here->proxy_port) {
        count(COUNTER_EGRESS_UNSTEERABLE);
        return -1;
    }
    return here->proxy_port;
}

/* Remembers where a steered connection was going; 0 if that is not possible. */
static inline int remember_origin(struct bpf_sock_addr *ctx, struct flow *flow)
{
    struct conn empty = {};
    struct bpf_sock *sk = ctx->sk;
    struct conn *conn;

    if (!sk)
        return 0;
    conn = conns.sk_storage_get(sk, &empty, BPF_SK_STORAGE_GET_F_CREATE);
    if (!conn)
        return 0;
    conn->origin_port = flow->server_port;
    __builtin_memcpy(conn->origin, flow->server, sizeof(conn->origin));
    return 1;
}

/* A socket connected anew must not carry the destination of its earlier life. */
static inline void forget_origin(struct bpf_sock_addr *ctx)
{
    struct bpf_sock *sk = ctx->sk;
    struct conn *conn;

    if (!sk)
        return;
    conn = conns.sk_storage_get(sk, 0, 0);
    if (conn)
        conn->origin_port = 0;
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
    port = connect_road(ctx, &flow);
    if (port < 0)
        return CONNECT_EPERM;
    if (!port) {
        forget_origin(ctx);
        return CONNECT_ALLOW;
    }
    if (!remember_origin(ctx, &flow)) {
        count(COUNTER_EGRESS_UNSTEERABLE);
        return CONNECT_EPERM;
    }
    ctx->user_ip4 = V4_LOOPBACK;
    ctx->user_port = bpf_htons(port);
    count(COUNTER_EGRESS_STEERED);
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
    port = connect_road(ctx, &flow);
    if (port < 0)
        return CONNECT_EPERM;
    if (!port) {
        forget_origin(ctx);
        return CONNECT_ALLOW;
    }
    if (!remember_origin(ctx, &flow)) {
        count(COUNTER_EGRESS_UNSTEERABLE);
        return CONNECT_EPERM;
    }
    if (is_ip4(flow.server)) {
        ctx->user_ip6[3] = V4_LOOPBACK; /* stays in the mapped form */
    } else {
        ctx->user_ip6[0] = 0;
        ctx->user_ip6[1] = 0;
        ctx->user_ip6[2] = 0;
        ctx->user_ip6[3] = bpf_htonl(1);
    }
    ctx->user_port = bpf_htons(port);
    count(COUNTER_EGRESS_STEERED);
    return CONNECT_ALLOW;
}
