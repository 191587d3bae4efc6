/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * For sock_ops: puts both ends of a local connection, and every server's end whose requests are
 * judged, into the socket hashes whose programs see what they send. The ends find each other by the
 * sequence numbers of their handshake.
 */

static inline int wants_no_splice(u64 cookie)
{
    struct namespace *here = namespace_of(cookie);

    return here && (here->flags & FLAG_NO_SPLICE);
}

/* What storage says of an end that has been put into a socket hash under the name *own. */
static inline void enrolled(struct bpf_sock_ops *ctx, struct bpf_sock *sk, struct conn *conn,
                            struct half *own)
{
    conn->sock = (u64)sk;
    conn->peer_sock = 0;
    conn->on_tcp = 0;
    conn->tcp_seq = ctx->snd_nxt;
    conn->peer = *own;
    conn->peer.is_server = !own->is_server;
}

static inline void client_established(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
    struct conn *conn = conns.sk_storage_get(sk, 0, 0);
    struct half_sockets both = {.client = (u64)sk};
    struct half own = {};
    u32 remote[4];
    long error;

    if (!conn || !conn->local || wants_no_splice(bpf_get_netns_cookie(ctx)))
        return;
    addresses_of(ctx, own.client, remote);
    own.client_seq = ctx->snd_nxt;
    own.server_seq = ctx->rcv_nxt;
    own.client_port = ctx->local_port;
    if (halves.update(&own, &both))
        return;
    if (conn->judged) {
        error = clients.sock_hash_update(ctx, &own, BPF_NOEXIST); /* BCC: a statement of its own */
    } else {
        error = sockets.sock_hash_update(ctx, &own, BPF_NOEXIST);
    }
    if (error) {
        count(COUNTER_ENROL_FAILED);
        halves.delete(&own);
        return;
    }
    enrolled(ctx, sk, conn, &own);
    count(COUNTER_CLIENT_ENROLLED);
}

/* From now on no byte reaches the server's application but what is allowed. */
static inline void judge(struct bpf_sock_ops *ctx, struct bpf_sock *sk, struct conn *conn,
                         struct half *own, struct half_sockets *both, struct flow *flow, u32 client,
                         u32 server, u32 road, u32 epoch)
{
    u64 key = bpf_get_socket_cookie(ctx);
    u32 zero = 0;
    struct http *http = blank.lookup(&zero);
    u64 *judged = judged_now.lookup(&zero);
    long error;

    if (http && judged && !exchanges.update(&key, http))
        lock_xadd(judged, 1);
    http = exchanges.lookup(&key);
    if (http) {
        http->server_key = *own;
        http->netns = bpf_get_netns_cookie(ctx);
        http->sock = (u64)sk;
        http->client = client;
        http->server = server;
        __builtin_memcpy(http->server_address, flow->server, sizeof(http->server_address));
        http->port = flow->server_port;
        http->phase = PHASE_BOUNDARY;
        http->answer_phase = PHASE_BOUNDARY;
        http->answer_seq = ctx->snd_nxt;
        http->arrived_seq = ctx->rcv_nxt;
        http->road = road;
        http->epoch = epoch;
    } else {
        count(COUNTER_NOT_JUDGED); /* without state everything is dropped */
    }
    if (conn) { /* from here on closed() clears away */
        conn->exchange = key;
        conn->peer.is_server = 0;
        bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
    }
    error = servers.sock_hash_update(ctx, own, BPF_NOEXIST); /* BCC: a statement of its own */
    if (error || !conn) {
        struct doomed entry = {.exchange = key, .reason = DOOMED_UNDECIDED};

        entry.netns = bpf_get_netns_cookie(ctx);
        doomed.push(&entry, 0);
        count(COUNTER_NOT_JUDGED);
        if (http)
            http->dead = 1;
        return;
    }
    enrolled(ctx, sk, conn, own);
    count(COUNTER_JUDGED);
    if (!both) {
        conn->peer.client_port = 0; /* the client's end is elsewhere, or left alone */
        return;
    }
    conn->peer_sock = both->client;
    both->exchange = key;
    both->server = (u64)sk;
    count(COUNTER_PAIRED);
}

static inline void server_established(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
    u64 cookie = bpf_get_netns_cookie(ctx);
    struct namespace *here = namespace_of(cookie);
    struct state *now = state_now();
    struct conn empty = {}, *conn;
    struct half_sockets *both;
    struct flow flow = {};
    struct half own = {};
    long error;

    addresses_of(ctx, flow.server, flow.client);
    flow.client_port = bpf_ntohl(ctx->remote_port);
    flow.server_port = ctx->local_port;
    __builtin_memcpy(own.client, flow.client, sizeof(own.client));
    own.client_seq = ctx->rcv_nxt;
    own.server_seq = ctx->snd_nxt;
    own.client_port = flow.client_port;
    both = halves.lookup(&own);
    own.is_server = 1;
    if (now && here && !proxied.sk_storage_get(sk, 0, 0)) {
        u32 client = identity_of_client(now, here, &flow), server, road, epoch = now->epoch;

        if (client != IDENTITY_PROXY) {
            server = identity_of_listener(now, here, flow.server, flow.server_port);
            road = road_of(epoch, client, server, flow.server_port);
            if ((road & ROAD_MASK) == ROAD_KERNEL) {
                conn = conns.sk_storage_get(sk, &empty, BPF_SK_STORAGE_GET_F_CREATE);
                judge(ctx, sk, conn, &own, both, &flow, client, server, road, epoch);
                return;
            }
        }
    }
    if (!both || wants_no_splice(cookie))
        return;
    conn = conns.sk_storage_get(sk, &empty, BPF_SK_STORAGE_GET_F_CREATE);
    if (!conn)
        return;
    error = sockets.sock_hash_update(ctx, &own, BPF_NOEXIST); /* BCC: a statement of its own */
    if (error) {
        count(COUNTER_ENROL_FAILED);
        return;
    }
    enrolled(ctx, sk, conn, &own);
    conn->peer_sock = both->client;
    both->server = (u64)sk;
    bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
    count(COUNTER_PAIRED);
}
