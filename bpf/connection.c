/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * sock_ops: follows the life of covered TCP sockets. Records who a client is before its SYN
 * leaves, which workload listens where, and enrols both ends of a local connection for the
 * short-circuit. Fails safe: a socket that cannot be enrolled stays on plain TCP.
 */

static inline void addresses_of(struct bpf_sock_ops *ctx, u32 *local, u32 *remote)
{
    READ_ADDRESS(ctx, local, local);
    READ_ADDRESS(ctx, remote, remote);
}

static inline void flow_of_client(struct bpf_sock_ops *ctx, struct flow *flow, u64 cookie)
{
    addresses_of(ctx, flow->client, flow->server);
    flow->client_port = ctx->local_port;
    flow->server_port = bpf_ntohl(ctx->remote_port);
    flow->netns = stays_inside(flow->client, flow->server) ? cookie : 0;
}

static inline int wants_no_splice(u64 cookie)
{
    struct namespace *here = namespace_of(cookie);

    return here && (here->flags & FLAG_NO_SPLICE);
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

/* Puts this end into the socket hash under its own name, with the other end's name in storage. */
static inline struct conn *enrol(struct bpf_sock_ops *ctx, struct bpf_sock *sk, struct half *own)
{
    struct conn empty = {};
    struct conn *conn = conns.sk_storage_get(sk, &empty, BPF_SK_STORAGE_GET_F_CREATE);
    long error;

    if (!conn)
        return 0;
    error = sockets.sock_hash_update(ctx, own, BPF_NOEXIST); /* BCC: a statement of its own */
    if (error) {
        count(COUNTER_ENROL_FAILED);
        return 0;
    }
    conn->sock = (u64)sk;
    conn->peer_sock = 0;
    conn->on_tcp = 0;
    conn->tcp_seq = ctx->snd_nxt;
    conn->peer = *own;
    conn->peer.is_server = !own->is_server;
    return conn;
}

static inline void client_established(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
    struct conn *conn = conns.sk_storage_get(sk, 0, 0);
    struct half_sockets both = {.client = (u64)sk};
    struct half own = {};
    u32 remote[4];

    if (!conn || !conn->local || wants_no_splice(bpf_get_netns_cookie(ctx)))
        return;
    addresses_of(ctx, own.client, remote);
    own.client_seq = ctx->snd_nxt;
    own.server_seq = ctx->rcv_nxt;
    own.client_port = ctx->local_port;
    if (halves.update(&own, &both))
        return;
    if (enrol(ctx, sk, &own))
        count(COUNTER_CLIENT_ENROLLED);
    else
        halves.delete(&own);
}

static inline void server_established(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
    struct half_sockets *both;
    struct half own = {};
    struct conn *conn;
    u32 local[4];

    addresses_of(ctx, local, own.client);
    own.client_seq = ctx->rcv_nxt;
    own.server_seq = ctx->snd_nxt;
    own.client_port = bpf_ntohl(ctx->remote_port);
    both = halves.lookup(&own);
    if (!both || wants_no_splice(bpf_get_netns_cookie(ctx)))
        return;
    own.is_server = 1;
    conn = enrol(ctx, sk, &own);
    if (!conn)
        return;
    conn->peer_sock = both->client;
    both->server = (u64)sk;
    count(COUNTER_PAIRED);
}

static inline void listening(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
    struct state *now = state_now();
    struct endpoint key = {.netns = bpf_get_netns_cookie(ctx), .port = ctx->local_port};
    struct listener fresh = {.sockets = 1};
    struct conn empty = {};
    struct listener *found;
    struct conn *conn;
    u32 remote[4], one = 1, *held;

    if (!now)
        return;
    fresh.identity = identity_of_cgroup(now);
    if (!fresh.identity)
        return;
    addresses_of(ctx, key.address, remote);
    conn = conns.sk_storage_get(sk, &empty, BPF_SK_STORAGE_GET_F_CREATE);
    if (!conn)
        return;
    held = listening_now.lookup(&fresh.identity);
    if (held && *held >= LISTENERS_EACH) {
        count(COUNTER_LISTENER_UNRECORDED); /* it can expose itself only */
        return;
    }
    found = listeners.lookup(&key);
    if (found) {
        lock_xadd(&found->sockets, 1);
        if (found->identity != fresh.identity)
            found->identity = IDENTITY_CONTESTED; /* whose the next connection is, nobody knows */
    } else if (listeners.update(&key, &fresh)) {
        count(COUNTER_LISTENER_UNRECORDED);
        return;
    }
    conn->listening = 1;
    conn->client = fresh.identity;
    if (held)
        lock_xadd(held, 1);
    else
        listening_now.update(&fresh.identity, &one);
    bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static inline void closed(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
    u64 cookie = bpf_get_netns_cookie(ctx);
    struct conn *conn = conns.sk_storage_get(sk, 0, 0);
    struct flow flow = {};

    if (ctx->args[0] == TCP_LISTEN_STATE) {
        struct endpoint key = {.netns = cookie, .port = ctx->local_port};
        struct listener *found;
        u32 remote[4], owner, *held;

        if (!conn || !conn->listening)
            return;
        addresses_of(ctx, key.address, remote);
        owner = conn->client;
        held = listening_now.lookup(&owner);
        if (held && *held)
            lock_xadd(held, -1);
        found = listeners.lookup(&key);
        if (!found)
            return;
        if (found->sockets > 1)
            lock_xadd(&found->sockets, -1);
        else
            listeners.delete(&key);
        return;
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
