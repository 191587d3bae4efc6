/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The loop over the bytes of a head: walk() of l7proxy/compiler/head_walk.py, with the same names.
 *
 * Bytes are copied to the stack in pieces: an sk_buff's are seldom linear, and a per-CPU buffer
 * would be overwritten by the same program running in a softirq.
 */

#define PIECE 128

#define FROM_MSG 0
#define FROM_SKB 1

/* The verifier takes a loop with this in it for one that may be left at any turn, and so looks at
 * its body once instead of once a byte (BPF_JCOND, Linux 6.9). It does not end before millions of
 * turns; whoever leaves a loop by it must not take the bytes for read. */
#define OR_GOTO(label)                                                                             \
    asm volatile goto("1: .byte 0xe5; .byte 0; .long ((%l[" #label "] - 1b - 8) / 8) & 0xffff; "    \
                      ".short 0" ::::label)

/* The compiler may not reason about the value any more, so that the verifier sees what it tests. */
#define OPAQUE(value) asm volatile("" : "+r"(value))

/* Counts on within a range that the verifier knows (a power of two): a loop whose counter may be
 * larger at each turn looks new to it at each turn. */
#define NEXT(counter, range)                                                                       \
    ({                                                                                             \
        u64 _next = (counter) + 1;                                                                 \
        OPAQUE(_next);                                                                             \
        _next & ((range)-1);                                                                       \
    })

/* What is in memory, whatever was stored there: the verifier follows each known value by itself. */
#define AGAIN(place) (*(volatile typeof(place) *)&(place))

/* The value, by way of memory: paths on which it differs are one to the verifier from here on. */
#define FORGOTTEN(place, value)                                                                    \
    ({                                                                                             \
        (place) = (value);                                                                         \
        AGAIN(place);                                                                              \
    })

/* False unless 0 < size <= most; two tests, which the compiler would join into one that tells the
 * verifier nothing. */
#define IS_BETWEEN_1_AND(most, size)                                                               \
    ({                                                                                             \
        int _right = 0;                                                                            \
        OPAQUE(size);                                                                              \
        if (size <= (most)) {                                                                      \
            OPAQUE(size);                                                                          \
            _right = size != 0;                                                                    \
        }                                                                                          \
        _right;                                                                                    \
    })

/* 1 or 0 without a branch, also where the compiler would know a comparison in it. */
static inline u64 is_nonzero(u64 number)
{
    u64 sign = number | -number;

    OPAQUE(sign);
    return sign >> 63;
}

/* Of an sk_buff the bytes are first moved to memory of its own: pages that a local client has sent
 * without copying (sendfile, vmsplice) could be written to after they were judged. Eight times as
 * much at each turn, so that all turns together copy each byte about once. */
static inline int own_bytes(struct __sk_buff *skb, u32 size)
{
    u64 wanted = size | 2047, all = skb->len;

    wanted |= is_nonzero(wanted >> 11) * 0x3fff;
    wanted |= is_nonzero(wanted >> 14) * 0x1ffff;
    wanted |= is_nonzero(wanted >> 17) * ~0u;
    return bpf_skb_pull_data(skb, wanted < all ? wanted : all);
}

static inline int load_piece(void *ctx, const int source, u32 at, u8 *piece, u64 size)
{
    if (!IS_BETWEEN_1_AND(PIECE, size))
        return -1;
    if (source == FROM_SKB)
        return own_bytes(ctx, at + size) ? -1 : bpf_skb_load_bytes(ctx, at, piece, size);
    struct sk_msg_md *msg = ctx;
    if (bpf_msg_pull_data(msg, at, at + size, 0))
        return -1;
    return bpf_probe_read_kernel(piece, size, msg->data);
}

/* What a state does beside counting and reading on in a field's table: flags, numbers, the beginning
 * of a value. A factor of one, bit 17, is none. */
#define ONE (1 << 17)
#define SELDOM (63 << 1 | 1 << 14 | 31 << 17 | 1 << 22)

/* Whether one of eight bytes could end a field value: below a space, or DEL (Bit Twiddling Hacks,
 * "Determine if a word has a byte less than n"). */
#define EACH(byte) (0x0101010101010101ull * (byte))
#define ENDS_TEXT(eight)                                                                           \
    ((((eight)-EACH(0x20)) & ~(eight)) | ((((eight) ^ EACH(0x7f)) - EACH(1)) & ~((eight) ^ EACH(0x7f)))) & \
        EACH(0x80)

/* The lanes of the four counters. */
#define COUNTS 0x0001000100010001ull

/* One byte, if there is one more: most lead into a state that does nothing. */
#define STEP                                                                                       \
    if (i >= size)                                                                                 \
        break;                                                                                     \
    byte = piece[i & (PIECE - 1)];                                                                 \
    i = NEXT(i, 4 * PIECE);                                                                        \
    OPAQUE(row); /* the verifier forgets in loops how large it may be */                           \
    row = grammar->rows[(row & 0xffff) + grammar->classes[byte]];                                  \
    if (row - first_running >= quiet)                                                              \
        goto act

/* Walks over the message's bytes from at up to upto, at most as far as a stop, unless it knows how
 * that ends; returns where it ended, or -1 where bytes could not be read. Without rules no field is
 * read. */
static inline int walk(void *ctx, const int source, struct grammar *grammar,
                       struct rules_large *rules, u32 mask, struct walker *walker, u32 at, u32 upto)
{
    u8 piece[PIECE] __attribute__((aligned(8)));
    u64 number = walker->number, flags = walker->flags, twice = walker->twice;
    u64 counts = walker->counts, row = walker->row, byte, quiet = grammar->first_acting - grammar->first_running;
    u64 first_running = grammar->first_running, last = grammar->last & 255;
    u64 text = grammar->text;
    u32 reading = walker->reading;
    int end = -1;

    at = FORGOTTEN(walker->scratch, at + walker->known);
    if (AGAIN(walker->known))
        upto = at;
    walker->known = 0;
    upto = FORGOTTEN(walker->scratch, upto);
    while (at < upto) {
        OR_GOTO(out);
        u64 size = upto - at, i = walker->zero;

        if (size > PIECE)
            size = PIECE;
        size = FORGOTTEN(walker->scratch, size);
        if (load_piece(ctx, source, at, piece, size))
            goto out;
        for (;;) {
            OR_GOTO(out);
            if (row == text) {
                if (!(i & 7) && i + 8 <= size) {
                    u64 eight = *(u64 *)(piece + (i & (PIECE - 8)));

                    if (!(ENDS_TEXT(eight))) {
                        i = (i + 8) & (4 * PIECE - 1);
                        continue;
                    }
                }
                STEP;
                continue;
            }
            STEP;
            STEP;
            continue;
        act:
            if (row < first_running) {
                end = at + i;
                goto out;
            }
            u64 word = grammar->words[grammar->rows[(row & 0xffff) + last] & 127];

            counts += word & COUNTS;
            if ((word ^ ONE) & SELDOM) {
                u64 bit = 1ull << (word >> 1 & 63);

                twice |= flags & bit;
                flags |= bit;
                number = number * (word >> 17 & 31) +
                         ((byte & 15) + 9 * (byte >> 6)) * (word >> 22 & 1);
                if (rules && word & 1 << 14)
                    reading = rules->start[word >> 8 & 15];
            }
            if (rules) {
                u64 slot = word >> 8 & 15;

                if (word & 1 << 12)
                    reading = rules->cells[(reading + rules->classes[slot][byte]) & mask];
                if (word & 1 << 13)
                    walker->kept[slot] = reading;
            }
        }
        at += size;
    }
    end = at;
out:
    walker->number = number;
    walker->flags = flags;
    walker->twice = twice;
    walker->counts = counts;
    walker->reading = reading;
    walker->row = row;
    return FORGOTTEN(walker->scratch, end);
}

static inline void walk_enter(struct walker *walker, u32 row)
{
    walker->row = row;
    walker->number = 0;
    walker->flags = 0;
    walker->twice = 0;
    walker->counts = 0;
    walker->glance = 0;
}

static inline u32 walk_count(struct walker *walker, u32 counter)
{
    return walker->counts >> counter & 0xffff;
}

#define HAS(walker, flag) ((walker)->flags >> HEAD_FLAG_##flag & 1)
#define REPEATS(walker, flag) ((walker)->twice >> HEAD_FLAG_##flag & 1)
