/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Bytes that came before. After a loss TCP may cut its segments elsewhere than the first time; it
 * queues one that begins with bytes that it has as a whole (tcp_data_queue(), tcp_ofo_queue()).
 * recv() skips those, tcp_read_skb() does not: it hands the whole sk_buff to the program here, and
 * from it to the reader (Linux 6.18, net/ipv4/tcp.c).
 */

#define ROOM_MOST 0xfffu /* bytes that one bpf_skb_adjust_room() can take away */

/* An sk_buff's first byte: TCP_SKB_CB(skb)->seq is the first of its control block. */
#define SEQUENCE_OF(skb) ((skb)->cb[0])

/* Takes `known` bytes away in front, which are fewer than there are; `scratch`: see FORGOTTEN. */
static inline int cut_front(struct __sk_buff *skb, u32 known, u32 *scratch)
{
    count(COUNTER_OVERLAPS_CUT);
    for (;;) {
        OR_GOTO(out);
        known = FORGOTTEN(*scratch, known);
        if (!known)
            return 0;
        u32 step = known < ROOM_MOST ? known : ROOM_MOST;

        if (bpf_skb_adjust_room(skb, -(s32)step, 0, 0))
            break;
        known -= step;
    }
out:
    return -1;
}
