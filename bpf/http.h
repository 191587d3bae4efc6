/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What is kept of a connection whose requests are judged here, and what is told of them. */

#define ENTRIES 128 /* requests and refusals of one connection that may be unanswered at a time */

/* What a connection owes its client, one entry a request: the server's answer, or one of ours. */
#define ENTRY_ANSWER 0
#define ENTRY_ANSWER_TO_HEAD 1
#define ENTRY_ANSWER_TO_UPGRADE 2
#define ENTRY_ANSWER_TO_HEAD_UPGRADE 3 /* asked by HEAD */
#define ENTRY_BOUNCE 4 /* ours, on its way in the place of the request: the kernel sends it */
#define ENTRY_BOUNCE_TO_HEAD 5
#define ENTRY_BEGUN 0x8000
#define ENTRY_REFUSAL 16 /* and above: the number of our answer in the map answers */
#define METHODS 10 /* that are told apart in what is counted; 0: any other */
#define WHATS 32 /* numbers of WHAT_OF, beyond the largest */
#define STATUSES 1000
#define NO_RULE 0xffff
#define RECORD_HEAD 512 /* of a head that is recorded, so many bytes */
#define DROPS 4     /* refused requests of one message that are each answered by themselves */

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

/* What is kept of a message between its bytes; WalkState of l7proxy/compiler/head_walk.py. */
struct walker {
    u64 number;
    u64 flags;
    u64 twice;
    u64 counts;
    u32 reading;
    u16 row;
    u16 status; /* of an answer */
    u32 known;  /* bytes of the message that were read before, see recall.h */
    u32 glance; /* the head that the message begins with, if it was not read before; else 0 */
    u32 size;   /* of the head that was read last */
    u32 zero; /* a 0 that the verifier does not know: where loops begin to count */
    u32 scratch; /* see FORGOTTEN */
    u32 kept[FIELD_SLOTS];
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

/* A request that is not settled yet. */
struct entry {
    u16 kind;    /* ENTRY_*; once the server's answer has begun, ENTRY_BEGUN and its status */
    u8 what;     /* WHAT_OF the request */
    u8 recorded; /* the agent has been told of it, and waits to hear how it ends */
    u32 time;    /* when its head was complete, in microseconds of CLOCK_MONOTONIC; see PLACE for one
                  * that is not decided for good yet; once the answer has begun, how long that took */
    u32 content; /* bytes of content of the answer; until it is decided, FLAGS_OF the request */
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
    u32 entry; /* of the request in hand: its kind, what it is, and where its head begins */
    u32 flags;
    u32 place;
    u32 refused;
    u32 keep;
    u32 start;          /* where the request in hand begins */
    u32 drop_at[DROPS]; /* refused requests, to be taken out of the message */
    u32 drop_size[DROPS];
    u64 time;   /* when it was decided, nanoseconds of CLOCK_MONOTONIC */
    u32 number; /* of the connection's requests, the next one to be counted, */
    u32 upto;   /* and the one that is not */
    u32 ours;   /* the message begins with a refusal that is answered at once */
    u32 pad;
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
    u8 doom;     /* why it is dead, DOOMED_* */
    u32 rest;   /* what is left of a message whose beginning has just been answered */
    u32 again;  /* the message in hand is such a rest */
    u32 budget; /* bytes that the section under way may still have */
    u32 server_address[4];
    u32 recorded; /* requests that the agent has been told of, */
    u32 told;     /* and those of which it knows how they ended */
    u64 content;  /* bytes of content that the request under way has announced so far */
    struct walker request;
    struct head head;
    struct reading reading;

    u64 answer_skip;
    u32 answer_budget;
    u32 answer_seq;  /* write_seq that the server's socket has if nothing went by unseen */
    u8 answer_phase;
    u8 answer_lost;  /* it is not known any more which answer is under way */
    u8 answer_around; /* the message in hand may go around TCP */
    u8 overlaps; /* when its bytes began to come by TCP, the client may not have read all answers */
    u8 counted; /* so has the one under way */
    u8 pad2[3];
    u32 arrived_seq; /* sequence number of the request's next byte that comes by TCP */
    u32 thrown_away; /* bytes that the client has sent since the end */
    u64 answered_at; /* when an answer was complete last, in microseconds of CLOCK_MONOTONIC */
    u64 answerer;    /* the task that gave it, by its address */
    u32 accounted;   /* answers that have been counted, of those that the ledger has settled */
    u32 now;
    struct walker response;
    struct entry entries[ENTRIES];
};

#define HEADS_KEPT 64    /* by each processor, for each direction */
#define KNOWN_BYTES 1024 /* of a head that is kept, at most */

/* A head, and what a walk over it found; see recall.h. */
struct known_head {
    u64 busy;
    u64 id;      /* of the tables that it was read by */
    u32 glance;
    u32 wanted;  /* the last glance at its place that was not known */
    u32 size;    /* 0: none is kept */
    u32 pad;
    struct walker walker;
    u8 bytes[KNOWN_BYTES];
};

/* What requests that were decided are counted by. */
struct decision {
    u64 rules_id;
    u16 rule;   /* the bit of the rule that decided, NO_RULE: none did */
    u8 reason;  /* REASON_RULE_ALLOWED: it was let through, whatever the rules say why */
    u8 what;
    u32 pad;
};

/* How many requests ended in which status; 0: they were not answered. */
struct outcomes {
    u64 by_status[STATUSES];
};

/* Times from head to answer, in microseconds. */
struct latencies {
    u64 buckets[LATENCY_BUCKETS];
    u64 sum;
};

/* How many served requests are recorded: struct state has the rate. */
struct pace {
    u64 due;     /* when the next may be recorded, in nanoseconds of CLOCK_MONOTONIC */
    u64 skipped; /* requests since the last one that was */
};

/* The beginning of a head that comes in pieces; twice the room, so that a piece fits behind it. */
struct beginning {
    u32 size;
    u8 bytes[2 * RECORD_HEAD];
};

/* What the agent is told of a request, once it is decided. */
struct request_record {
    u64 exchange;
    u64 time; /* nanoseconds of CLOCK_MONOTONIC */
    u64 rules_id;
    u32 number;  /* of the connection's requests */
    u32 weight;  /* how many requests it stands for */
    u32 client;  /* identities */
    u32 server;
    u32 client_address[4];
    u32 server_address[4];
    u16 client_port;
    u16 server_port;
    u16 rule; /* as in struct decision */
    u8 reason;
    u8 what;
    u8 way;  /* MODE_* */
    u8 told; /* if it was refused: whether the client gets the answer */
    u16 size;
    u32 pad;
    u8 head[RECORD_HEAD];
};

/* What it is told of how it ended: the answer with that number is over, or the connection is. */
struct answer_record {
    u64 exchange;
    u64 request_content; /* bytes of the request's content if it was the last one; 0: not known */
    u32 content;         /* of the answer's, modulo 2**32 */
    u32 number;
    u32 latency; /* microseconds */
    u16 status;  /* 0: there was no answer */
    u8 ended;    /* the connection has ended, and every request from number on with it */
    u8 doom;     /* if it had to end, why: DOOMED_* and one */
    u8 lost;     /* without a status: the server's answers could not be followed any more */
    u8 pad[3];
};

/* A connection that the agent has to reset, see l7proxy/datapath/reaper.py. */
struct doomed {
    u64 exchange;
    u64 netns;
    u32 reason;
    u32 pad;
};
