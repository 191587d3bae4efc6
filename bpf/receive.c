/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * sk_skb/verdict: passes every byte once. Some kernels (6.18.14 and on, and their stable backports)
 * tell FIONREAD 0 for TCP bytes on a socket of a socket hash that has no such program; it is
 * attached where the start-up probe finds that. Clients of judged connections have it always: it
 * makes one queue of what comes by TCP and what goes around it.
 */
int on_receive(struct __sk_buff *skb)
{
    u64 key = bpf_get_socket_cookie(skb);
    u32 size = skb->len, end = SEQUENCE_OF(skb) + size, known, scratch;
    u32 *arrived;

    if (!size)
        return SK_PASS; /* the end of the stream */
    arrived = arrivals.lookup(&key);
    if (!arrived) {
        arrivals.update(&key, &end); /* the first of a connection is where it should be */
        return SK_PASS;
    }
    known = *arrived - SEQUENCE_OF(skb);
    *arrived = end;
    if (!known)
        return SK_PASS;
    return known < size && !cut_front(skb, known, &scratch) ? SK_PASS : SK_DROP;
}
