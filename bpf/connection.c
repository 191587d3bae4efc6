/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * sock_ops: follows the life of covered TCP sockets. Records who a client is before its SYN
 * leaves, which workload listens where (listening.h), and enrols both ends of a local connection
 * for the short-circuit (enrol.h). Fails safe: a socket that cannot be enrolled stays on plain TCP.
 */

static inline void flow_of_client(struct bpf_sock_ops *ctx, struct flow *flow, u64 cookie)
{
    addresses_of(ctx, flow->client, flow->server);
    flow->client_port = ctx->local_port;
    flow->server_port = bpf_ntohl(ctx->remote_port);
    flow->netns = stays_inside(flow->client, flow->server) ? cookie : 0;
}

/* The final addresses are known and the SYN has not left. connect.c has filled the storage. */
static inline void connecting(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
    u64 cookie = bpf_get_netns_cookie(ctx);
    struct conn *conn = conns.sk_storage_get(sk, 0, 0);
    struct flow flow = {};
    u32 client;

    if (!conn)
        return;
    flow_of_client(ctx, &flow, cookie);
    if (stays_inside(flow.client, flow.server))
        conn->local = 1;
    client = conn->client;
    flows.update(&flow, &client);
    if (conn->origin_port) {
        struct endpoint origin = {.port = conn->origin_port};
        origin.address[0] = conn->origin[0];
        origin.address[1] = conn->origin[1];
        origin.address[2] = conn->origin[2];
        origin.address[3] = conn->origin[3];
        origins.update(&flow, &origin);
    }
    bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static inline void closed(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
    u64 cookie = bpf_get_netns_cookie(ctx), key;
    struct conn *conn = conns.sk_storage_get(sk, 0, 0);
    struct flow flow = {};
    u32 zero = 0;
    u64 *judged;

    if (ctx->args[0] == TCP_LISTEN_STATE) {
        listens_no_more(ctx, conn, cookie);
        return;
    }
    key = bpf_get_socket_cookie(ctx);
    arrivals.delete(&key);
    if (conn && conn->exchange && conn->peer.is_server == 0) {
        struct http *http = exchanges.lookup(&conn->exchange);

        if (http)
            connection_ends(http, conn->exchange);
        judged = judged_now.lookup(&zero);
        if (!exchanges.delete(&conn->exchange) && judged)
            lock_xadd(judged, -1);
    }
    if (!conn || !conn->client)
        return;
    flow_of_client(ctx, &flow, cookie);
    flows.delete(&flow);
    if (conn->client == IDENTITY_PROXY) {
        flow.netns = cookie;
        upstreams.delete(&flow);
    }
    if (conn->origin_port)
        origins.delete(&flow);
}

int on_sock_ops(struct bpf_sock_ops *ctx)
{
    struct bpf_sock *sk = ctx->sk;

    if (!sk)
        return 0;
    switch (ctx->op) {
    case BPF_SOCK_OPS_TCP_CONNECT_CB:
        connecting(ctx, sk);
        break;
    case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
        client_established(ctx, sk);
        break;
    case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
        server_established(ctx, sk);
        break;
    case BPF_SOCK_OPS_TCP_LISTEN_CB:
        listening(ctx, sk);
        break;
    case BPF_SOCK_OPS_STATE_CB:
        if (ctx->args[1] == TCP_CLOSE_STATE)
            closed(ctx, sk);
        break;
    }
    return 0;
}
