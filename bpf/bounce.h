/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What takes the place of refused bytes in an sk_buff, byte for byte. The kernel counts the sk_buff
 * as read by the length that it has when the program ends (tcp_eat_skb(), net/ipv4/tcp_bpf.c), and
 * that count must come out even: behind, and the socket stays readable with nothing to read; ahead,
 * and what comes next is not noticed, nor is the end of the connection.
 */

#define FILLING 128

/* Fills [at, end) of the sk_buff with the bytes of `filling` over and over. */
static inline int fill(struct __sk_buff *skb, struct http *http, const u8 *filling, u32 at, u32 end)
{
    for (;;) {
        OR_GOTO(out);
        at = FORGOTTEN(http->request.scratch, at);
        if (at >= end)
            return 0;
        u64 size = end - at;

        if (size > FILLING)
            size = FILLING;
        if (!IS_BETWEEN_1_AND(FILLING, size) || bpf_skb_store_bytes(skb, at, (void *)filling, size, 0))
            goto out;
        at += size;
    }
out:
    return -1;
}

/* What is behind `start` becomes empty lines, which a server that waits for a request ignores
 * (RFC 9112 2.2). */
static inline int blank_out(struct __sk_buff *skb, struct http *http, u32 start, u32 size)
{
    u8 lines[FILLING];

    for (u32 i = 0; i < FILLING; i += 2) {
        lines[i] = '\r';
        lines[i + 1] = '\n';
    }
    if (own_bytes(skb, size) || fill(skb, http, lines, start, size))
        return -1;
    return bpf_skb_store_bytes(skb, size - 1, &lines[1], 1, 0);
}

/* The longest form of an answer that is no longer than `size`; 0: none is. Numbers as those of
 * l7proxy/datapath/answers.py, made of ANSWER_TO_HEAD and ANSWER_KEEP. */
static inline struct in_place *form_of(struct http *http, u32 entry, u32 size)
{
    u32 number = entry - ENTRY_REFUSAL;
    u32 first = ((number >> 3) * 4 + (number >> 1 & 2) + (number & 1)) * IN_PLACE_FORMS;

    for (u64 i = http->request.zero; i < IN_PLACE_FORMS; i = NEXT(i, 8)) {
        OR_GOTO(out);
        u32 key = first + i;
        struct in_place *form = in_place.lookup(&key);

        if (form && form->least && form->least <= size)
            return form;
    }
out:
    return 0;
}

/* The sk_buff becomes our answer. */
static inline int put_answer(struct __sk_buff *skb, struct http *http, struct in_place *form,
                             u32 size)
{
    u64 head = form->head_size, tail = form->tail_size;
    u32 pad = size - form->head_size - form->tail_size;
    u8 spaces[FILLING], digits[IN_PLACE_DIGITS];

    __builtin_memset(spaces, ' ', sizeof(spaces));
    if (own_bytes(skb, size) || !IS_BETWEEN_1_AND(IN_PLACE_BYTES, head) ||
        bpf_skb_store_bytes(skb, 0, form->head, head, 0) ||
        fill(skb, http, spaces, form->head_size, form->head_size + pad) ||
        !IS_BETWEEN_1_AND(IN_PLACE_BYTES, tail) ||
        bpf_skb_store_bytes(skb, form->head_size + pad, form->tail, tail, 0))
        return -1;
    if (!form->length_at)
        return 0;
    pad += form->content;
    for (int i = IN_PLACE_DIGITS - 1; i >= 0; i--) {
        digits[i] = '0' + pad % 10;
        pad /= 10;
    }
    return bpf_skb_store_bytes(skb, form->length_at, digits, sizeof(digits), 0);
}
