/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What user space writes for the kernel road: how heads are read, the rules, and our own answers.
 * l7proxy/compiler/ and l7proxy/datapath/answers.py lay it out.
 */

#define FIELD_SLOTS 16
#define ANSWER_BYTES 376
#define IN_PLACE_BYTES 256
#define IN_PLACE_FORMS 6
#define IN_PLACE_DIGITS 7

/* The automaton of heads; struct of l7proxy/compiler/head_map.py. */
struct grammar {
    u64 id;
    u64 present;   /* flags that say that a watched header is there */
    u64 forbidden; /* flags that no trailer may raise */
    u64 words[128];
    u32 last;
    u32 first_running;
    u32 first_acting;
    u32 entries[4];
    u32 text; /* the state in which bytes that may be part of a value lead back; ~0: none */
    u8 flag_of[FIELD_SLOTS]; /* by slot: the flag of a watched header */
    u8 classes[256];
    u16 rows[65536 + 256]; /* a row's place and a class: in bounds, whatever was loaded */
};

/*
 * The rules of one admission; laid out by l7proxy/compiler/rules_map.py. A state of a field's
 * table is the place of its row in cells; a row's last cell is the place of the set of rules that
 * a value ending there satisfies. Sets are bit strings of layer_words[layers] cells.
 */
#define RULES_HEAD                                                                                 \
    u64 id;                                                                                        \
    u32 grammar;                                                                                   \
    u32 fields;         /* how many of the following are used */                                   \
    u32 layers;         /* directions whose rules all must allow: 1 or 2 */                        \
    u32 layer_words[3]; /* where each layer's bits begin in a set, and where the last end */       \
    u32 otherwise[2];   /* by layer: 1 lets through what no rule matches */                        \
    u32 blocks;         /* the place of the set of rules that block */                             \
    u32 pad;                                                                                       \
    u32 start[FIELD_SLOTS];  /* by slot: where its table begins to read */                         \
    u32 last[FIELD_SLOTS];   /* by slot: of a row, the cell with the set */                        \
    u32 slot[FIELD_SLOTS];   /* by field */                                                        \
    u32 absent[FIELD_SLOTS]; /* by field: the set for a request without it */                      \
    u8 classes[FIELD_SLOTS][256] /* by slot */

#define RULES_SMALL (1 << 15)
#define RULES_LARGE (1 << 20)

struct rules_small {
    RULES_HEAD;
    u32 cells[RULES_SMALL];
};

struct rules_large {
    RULES_HEAD;
    u32 cells[RULES_LARGE];
};

/* One of our own answers, by ANSWER_OF(reason, ...). */
struct answer {
    u32 size;
    u8 bytes[ANSWER_BYTES + 4]; /* whole eight-byte words are copied */
};

/* One of our answers in the place of the bytes that it refuses; l7proxy/http/in_place.py. */
struct in_place {
    u32 least; /* it is for so many bytes and more; 0: there is no such form */
    u32 head_size;
    u32 tail_size;
    u32 length_at; /* where Content-Length's digits go, 0: nowhere */
    u32 content;   /* bytes of content, without the spaces */
    u32 is_open;   /* it ends where the connection does */
    u8 head[IN_PLACE_BYTES];
    u8 tail[IN_PLACE_BYTES];
};
