/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * sk_msg: the short-circuit. A message sent on an enrolled socket goes straight to the receive
 * queue of the other end. The redirect itself has no back-pressure, so it stops at a credit and
 * the connection goes on by TCP, which has; it comes back when nothing is under way.
 *
 * Order: redirected bytes are read before bytes that TCP delivers later, so going to TCP is
 * always safe. Coming back is safe only when the other end has received and read all of ours.
 *
 * Fails safe: whatever cannot be redirected goes by TCP.
 */

/* A number from a kernel structure that may be gone by now; the address is never dereferenced. */
static inline u32 peek(u64 base, u32 offset)
{
    u32 value = 0;

    bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + offset));
    return value;
}

/* Skbs that the other end's receive program has passed but not yet queued to the reader. */
static inline u32 peek_backlog(u64 sock)
{
    u64 psock = 0;

    bpf_probe_read_kernel(&psock, sizeof(psock), (void *)(sock + OFF_SK_USER_DATA));
    psock &= ~7ull; /* the low bits are flags, net/sock.h */
    return psock ? peek(psock, OFF_PSOCK_INGRESS_QLEN) : 0;
}

static inline int drained(u64 own, u64 peer)
{
    return peek(own, OFF_SND_UNA) == peek(own, OFF_WRITE_SEQ) &&
           peek(peer, OFF_COPIED_SEQ) == peek(peer, OFF_RCV_NXT) && !peek_backlog(peer);
}

/* Whether a message of `size` bytes may go around TCP now; conn->on_tcp remembers. */
static inline int may_redirect(struct conn *conn, struct state *now, u32 size)
{
    u32 queued = peek(conn->peer_sock, OFF_RMEM_ALLOC);

    /* Another thread's message, passed earlier, may have been waiting for memory since. */
    if (peek(conn->sock, OFF_WRITE_SEQ) != conn->tcp_seq)
        conn->on_tcp = 1;
    if (conn->on_tcp) {
        if (queued || !drained(conn->sock, conn->peer_sock)) {
            count_n(COUNTER_TCP_BYTES, size);
            return 0;
        }
        conn->on_tcp = 0;
        conn->tcp_seq = peek(conn->sock, OFF_WRITE_SEQ);
        count(COUNTER_BACK_TO_REDIRECT);
    } else if (queued > now->credit) {
        conn->on_tcp = 1;
        count(COUNTER_OUT_OF_CREDIT);
        count_n(COUNTER_TCP_BYTES, size);
        return 0;
    }
    if (peek(conn->peer_sock, OFF_RCVLOWAT) > 1) {
        conn->on_tcp = 1;
        count(COUNTER_REDIRECT_FAILED);
        return 0;
    }
    return 1;
}

int on_send(struct sk_msg_md *msg)
{
    struct bpf_sock *sk = msg->sk;
    struct state *now = state_now();
    struct conn *conn;
    struct half peer;
    u32 size = msg->size;

    if (!sk || !now)
        return SK_PASS;
    /* After shutdown() TCP knows what to answer; the redirect would deliver the bytes. */
    if (sk->state != TCP_ESTABLISHED_STATE && sk->state != TCP_CLOSE_WAIT_STATE) {
        count(COUNTER_SENT_AFTER_END);
        return SK_PASS;
    }
    conn = conns.sk_storage_get(sk, 0, 0);
    if (!conn || !conn->peer.client_port) {
        count(COUNTER_NOT_ENROLLED);
        return SK_PASS;
    }
    peer = conn->peer;
    if (!conn->peer_sock) {
        struct half own = peer;
        struct half_sockets *both;

        own.is_server = 0; /* only a client can be ahead of its other end */
        both = halves.lookup(&own);
        if (!both || !both->server) {
            conn->on_tcp = 1;
            count(COUNTER_UNPAIRED_MESSAGES);
            return SK_PASS;
        }
        conn->peer_sock = both->server;
        halves.delete(&own);
    }
    if (!may_redirect(conn, now, size))
        return SK_PASS;
    if (bpf_msg_pull_data(msg, 0, size, 0) ||
        sockets.msg_redirect_hash(msg, &peer, BPF_F_INGRESS) != SK_PASS) {
        conn->on_tcp = 1;
        count(COUNTER_REDIRECT_FAILED);
        return SK_PASS;
    }
    count_n(COUNTER_REDIRECTED_BYTES, size);
    count(COUNTER_REDIRECTED_MESSAGES);
    return SK_PASS;
}
