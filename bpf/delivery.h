/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Whether an answer that goes around TCP is in the client's queue. The program at the server's
 * socket sees it a moment before: the kernel lets go of that socket in between and waits for the
 * client's. An answer of ours must not get there first.
 */

#define DELIVERY_NS 20000 /* what the rest of a send() on another processor may take */

#define DELIVERY_UNKNOWN 0
#define DELIVERY_OVER 1
#define DELIVERY_UNDER_WAY 2

/* The server's task holds the socket's psock while it is in send() or recv(). There it sleeps
 * uninterruptibly only for the client's lock, before it has delivered; and interruptibly (TASK_*,
 * linux/sched.h), which is in recv() or elsewhere, only after. */
static inline int delivery_of(struct http *http)
{
    u64 psock = 0, begin;
    u32 state;

    if (!http->answerer)
        return DELIVERY_OVER;
    begin = bpf_ktime_get_ns();
    bpf_probe_read_kernel(&psock, sizeof(psock), (void *)(http->sock + OFF_SK_USER_DATA));
    psock &= ~7ull; /* the low bits are flags, net/sock.h */
    for (;;) {
        OR_GOTO(out);
        state = peek(http->answerer, OFF_TASK_STATE);
        if (peek(psock, OFF_PSOCK_REFCNT) < 2 || state & 1) {
            http->answerer = 0;
            return DELIVERY_OVER;
        }
        if (state & 2)
            return DELIVERY_UNDER_WAY;
        if (bpf_ktime_get_ns() - begin > DELIVERY_NS)
            break;
    }
out:
    return DELIVERY_UNKNOWN;
}

/* For a client whose bytes do not come by TCP: whether it may not have got an answer that counts
 * as given. Else it has been in recv() since, where tcp_rcv_space_adjust() takes the time. */
static inline int may_overlap(struct http *http, u64 client)
{
    int delivery = delivery_of(http);
    u64 received = 0;

    if (delivery != DELIVERY_UNKNOWN)
        return delivery == DELIVERY_UNDER_WAY;
    bpf_probe_read_kernel(&received, sizeof(received), (void *)(client + OFF_TCP_MSTAMP));
    return received < http->answered_at;
}
