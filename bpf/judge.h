/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What both ways of a judged connection's requests have in common. */

#define ANSWER_KEEP 1
#define ANSWER_HTTP10 2
#define ANSWER_TO_HEAD 4

static inline u32 refusal(int reason, u32 how)
{
    return ENTRY_REFUSAL + reason * 8 + how;
}

/* What the server owes for an allowed request. */
static inline u16 entry_of(struct head *head)
{
    return ENTRY_ANSWER + head->is_head + 2 * head->upgrade;
}

static inline struct answer *answer_of(u32 entry)
{
    u32 number = entry - ENTRY_REFUSAL;

    return answers.lookup(&number);
}

/* Writes an answer to the message's bytes, which have been pulled, from `skip` on. */
static inline int write_answer(struct sk_msg_md *msg, struct http *http, struct answer *answer,
                               u32 skip, u32 size)
{
    u8 *data = (u8 *)(long)msg->data, *end = (u8 *)(long)msg->data_end;

    data += skip & 1;
    for (u64 i = http->request.zero; i < size; i = NEXT(i, 512)) {
        OR_GOTO(out);
        u8 *to = data + (i & 511);

        if (i >= ANSWER_BYTES || to + 1 > end)
            goto out;
        *to = answer->bytes[i];
    }
    return 0;
out:
    return -1;
}

/* Nothing more goes through. The agent resets the connection once the client could have read what
 * it was told; where no agent runs, the server's own time-out ends it. */
static inline void doom(struct http *http, u64 key, u32 reason)
{
    struct doomed entry = {.exchange = key, .netns = http->netns, .reason = reason};

    if (http->dead)
        return;
    http->dead = 1;
    http->doom = reason;
    if (doomed.push(&entry, 0))
        count(COUNTER_DOOMED_UNRECORDED);
}

/* Takes the rules in force for the next request. 0: no HTTP rule applies any more, or some that
 * are not decided here, or none at all. */
static inline struct rules_large *refresh(struct http *http, u32 *mask)
{
    struct state *now = state_now();
    struct rules_large *rules;

    if (!now)
        return 0;
    if (http->phase == PHASE_BOUNDARY && http->epoch != now->epoch) {
        http->road = road_of(now->epoch, http->client, http->server, http->port);
        http->epoch = now->epoch;
    }
    if ((http->road & ROAD_MASK) != ROAD_KERNEL)
        return 0;
    rules = rules_of(http->road, mask);
    if (!rules)
        return 0;
    if (http->phase == PHASE_BOUNDARY)
        http->rules_id = rules->id;
    else if (http->rules_id != rules->id && http->phase != PHASE_PASSING)
        return 0; /* the tables that this message was begun with are gone */
    return rules;
}

/* A request that asked for another protocol has had its answer. */
static inline void settle_upgrade(struct http *http)
{
    if (http->phase != PHASE_HELD || owed(ledger_now(http)))
        return;
    http->phase = http->upgraded ? PHASE_PASSING : PHASE_BOUNDARY;
}
