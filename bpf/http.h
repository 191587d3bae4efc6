/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Types of the kernel road: what is kept of a connection whose requests are judged here, and the
 * tables that they are judged by. l7proxy/compiler/ lays the tables out.
 */

#define FIELD_SLOTS 16
#define ENTRIES 128 /* requests and refusals of one connection that may be unanswered at a time */

/* What a connection owes its client, one entry a request: the server's answer, or one of ours. */
#define ENTRY_ANSWER 0
#define ENTRY_ANSWER_TO_HEAD 1
#define ENTRY_ANSWER_TO_UPGRADE 2
#define ENTRY_BOUNCE 3 /* ours, on its way in the place of the request: the kernel sends it */
#define ENTRY_BOUNCE_TO_HEAD 4
#define ENTRY_REFUSAL 16 /* and above: the number of our answer in the map answers */
#define DROPS 4     /* refused requests of one message that are each answered by themselves */
#define ANSWER_BYTES 376
#define IN_PLACE_BYTES 256
#define IN_PLACE_FORMS 6
#define IN_PLACE_DIGITS 7

/* Where a message is, as HEAD, CHUNKS ... of l7proxy/compiler/head_machine.py. */
#define PHASE_HEAD 0
#define PHASE_LENGTH 1
#define PHASE_CHUNKS 2
#define PHASE_TRAILERS 3
#define PHASE_HELD 4    /* an upgrade was asked for and is not answered yet */
#define PHASE_PASSING 5 /* nobody looks any more: another protocol, or no rule left */
#define PHASE_BOUNDARY 6 /* between two messages, nothing of the next has come */

/* Which way a connection's requests travel; one of them at a time feeds the machine. */
#define MODE_UNDECIDED 0
#define MODE_REDIRECT 1 /* the client's sk_msg program */
#define MODE_TCP 2      /* the server's sk_skb program */

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

/* What is kept of a message between its bytes; WalkState of l7proxy/compiler/head_walk.py. */
struct walker {
    u64 number;
    u64 flags;
    u64 twice;
    u64 counts;
    u32 reading;
    u16 row;
    u16 pad;
    u32 zero; /* a 0 that the verifier does not know: where loops begin to count */
    u32 scratch; /* see FORGOTTEN */
    u32 kept[FIELD_SLOTS];
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

/*
 * The parts below are written by one program run and read by the same; they are here because what
 * is read back from a map is any number to the verifier, and need not be followed branch by branch.
 */

/* What a request's head means, see meaning.h. */
struct head {
    u64 length;
    u8 framing;
    u8 keep_alive;
    u8 expects;
    u8 upgrade;
    u8 is_head;
    u8 http10;
    u16 pad;
    int reason; /* ACCEPTED, or why the request is refused */
    u32 rule_word; /* the rule that decided: bit rule_bit of this word of a set; 0: none */
    u32 rule_bit;
    u32 pad2;
};

/* What reading a whole message found; nothing has been done about it yet. */
struct reading {
    u32 made;    /* entries, from the ledger's end on */
    u32 drops;   /* those in drop_at */
    u32 tail;    /* it ends inside a request that may be allowed, or asks for an upgrade */
    u32 full;    /* the client has more answers to read than there is credit for */
    u32 closing; /* its last entry ends the connection */
    u32 first_refused;
    u32 has_head;
    u32 ahead; /* the server has got some of the request in hand */
    u32 entry; /* of the request in hand */
    u32 refused;
    u32 keep;
    u32 start;          /* where the request in hand begins */
    u32 drop_at[DROPS]; /* refused requests, to be taken out of the message */
    u32 drop_size[DROPS];
    u32 drop_entry[DROPS];
};

/*
 * A connection whose requests are judged, by the server socket's cookie. The request half belongs
 * to whom mode names, the response half to the server's sk_msg program.
 */
struct http {
    struct half server_key;
    u64 netns;
    u64 sock;     /* the server's end, as struct conn has it */
    u64 mode;
    u64 ledger;   /* entries made << 32 | entries answered */
    u64 skip;     /* bytes of the request's content that come before anything to look at */
    u64 sender;   /* the task that redirected last */
    u64 rules_id; /* of the rules that the message under way is read by */
    u32 epoch;    /* of the policy set that road was taken from */
    u32 road;
    u32 client; /* identities */
    u32 server;
    u16 port;
    u8 phase;
    u8 swallow; /* the message under way is refused, its content is thrown away */
    u8 dead;    /* nothing more is let through; the connection is about to end */
    u8 upgraded;        /* the server has switched protocols */
    u8 doubtful; /* which bytes are an answer's head could be mistaken: no upgrade any more */
    u8 pad1;
    u32 rest;   /* what is left of a message whose beginning has just been answered */
    u32 again;  /* the message in hand is such a rest */
    u32 budget; /* bytes that the section under way may still have */
    struct walker request;
    struct head head;
    struct reading reading;

    u64 answer_skip;
    u32 answer_budget;
    u32 answer_seq;  /* write_seq that the server's socket has if nothing went by unseen */
    u8 answer_phase;
    u8 answer_lost;  /* it is not known any more which answer is under way */
    u16 answer_status;
    u8 answer_around; /* the message in hand may go around TCP */
    u8 overlaps; /* when its bytes began to come by TCP, the client may not have read all answers */
    u8 pad2[2];
    u64 answered_at; /* when an answer was complete last, in microseconds of CLOCK_MONOTONIC */
    u64 answerer;    /* the task that gave it, by its address */
    struct walker response;
    u16 entries[ENTRIES];
};

/* A connection that the agent has to reset, see l7proxy/datapath/reaper.py. */
struct doomed {
    u64 exchange;
    u64 netns;
    u32 reason;
    u32 pad;
};
