/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Heads that were read before. Clients send the same head again and again, and servers answer with
 * the same for a second at least: what a walk over one found is kept, and equal bytes read by the
 * same tables are not walked over again, because the walk would find the same.
 *
 * Each processor keeps its own; a program that interrupts another one here walks. What is kept is
 * what was walked over: a message's bytes were copied when they were sent, those of an sk_buff by
 * own_bytes(), and nobody writes to them any more.
 */

#define GLANCED 24
#define IS_REQUEST 0
#define IS_ANSWER 1

/* Where a head is kept; few heads are alike in this and differ elsewhere. Never 0. */
static inline u32 glance(u8 *piece, u32 left)
{
    u64 *words = (u64 *)piece;
    u64 mixed = (words[1] ^ left) * 0x9e3779b97f4a7c15ull;

    mixed = (mixed ^ words[2]) * 0xc2b2ae3d27d4eb4full;
    return mixed >> 32 | 1 << 31;
}

static inline struct known_head *kept_at(const int is_answer, u32 glance)
{
    u32 place = glance & (HEADS_KEPT - 1);

    return is_answer ? answer_heads.lookup(&place) : request_heads.lookup(&place);
}

/* One user at a time, whoever comes while there is one gets nothing. */
static inline int claim(struct known_head *known)
{
    return !__sync_val_compare_and_swap(&known->busy, 0, 1);
}

static inline void give_back(struct known_head *known)
{
    *(volatile u64 *)&known->busy = 0;
}

/* Whether the bytes from `at` on are those of the head; `piece` has the first of them. */
static inline int is_same(void *ctx, const int source, struct known_head *known, u8 *piece, u32 at,
                          struct walker *walker)
{
    u64 done = walker->zero;

    for (;;) {
        OR_GOTO(out);
        u64 left = known->size - done, i = walker->zero;

        left = FORGOTTEN(walker->scratch, left < PIECE ? left : PIECE);
        if (done && load_piece(ctx, source, at + done, piece, left))
            goto out;
        for (; i < left; i = (i + 8) & (2 * PIECE - 1)) {
            OR_GOTO(out);
            u64 differs = *(u64 *)(piece + (i & (PIECE - 8))) ^
                          *(u64 *)(known->bytes + ((done + i) & (KNOWN_BYTES - 8)));

            if (left - i < 8)
                differs <<= (64 - 8 * (left - i)) & 63; /* what comes behind the head */
            if (differs)
                goto out;
        }
        done = FORGOTTEN(walker->scratch, done + left) & (2 * KNOWN_BYTES - 1);
        if (done >= known->size)
            return 1;
    }
out:
    return 0;
}

static inline void walk_copy(struct walker *to, struct walker *from)
{
    to->number = from->number;
    to->flags = from->flags;
    to->twice = from->twice;
    to->counts = from->counts;
    to->reading = from->reading;
    to->row = from->row;
    to->status = from->status;
    __builtin_memcpy(to->kept, from->kept, sizeof(to->kept));
}

/* The message begins with a head, and so does the walker. If it was read before by the tables *id,
 * the walker is as it was then, and knows its bytes. Only what comes twice at its place without
 * anything else between is worth to be kept: heads that never come again push nothing out. */
static inline void recall(void *ctx, const int source, const int is_answer, u64 *id,
                          struct walker *walker, u64 left)
{
    u8 piece[PIECE] __attribute__((aligned(8)));
    struct known_head *known;

    walker->size = 0;
    if (left < GLANCED || load_piece(ctx, source, 0, piece, left < PIECE ? left : PIECE))
        return;
    walker->glance = glance(piece, left);
    known = kept_at(is_answer, AGAIN(walker->glance));
    if (!known)
        return;
    if (known->glance != walker->glance) {
        if (known->wanted != walker->glance) {
            known->wanted = walker->glance;
            walker->glance = 0;
        }
        return;
    }
    if (!claim(known))
        return;
    if (known->size && known->size <= left && known->glance == walker->glance && known->id == *id &&
        is_same(ctx, source, known, piece, 0, walker)) {
        walk_copy(walker, &known->walker);
        walker->known = known->size;
        walker->glance = 0;
    }
    give_back(known);
}

/* Keeps the head that the message began with, if it is worth it and nothing was read after it. */
static inline void learn(void *ctx, const int source, const int is_answer, u64 *id,
                         struct walker *walker)
{
    u64 size = AGAIN(walker->size);
    struct sk_msg_md *msg = ctx;
    struct known_head *known;

    if (!walker->glance || !IS_BETWEEN_1_AND(KNOWN_BYTES, size))
        return;
    known = kept_at(is_answer, walker->glance);
    if (!known || !claim(known))
        return;
    known->size = 0;
    if (source == FROM_SKB ? !bpf_skb_load_bytes(ctx, 0, known->bytes, size)
                           : !bpf_msg_pull_data(msg, 0, size, 0) &&
                                 !bpf_probe_read_kernel(known->bytes, size, msg->data)) {
        walk_copy(&known->walker, walker);
        known->id = *id;
        known->glance = walker->glance;
        known->size = size;
    }
    give_back(known);
}
