/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What the agent is told of single requests: every refusal, and of served ones as many as the rate
 * allows. Nothing waits for the ring buffer's reader: what has no room is lost, and counted.
 */

#define BURST_NS 1000000000ull /* of served requests, so much at once; then by the rate */
#define RECORDS_SERVED (FLOW_RING_BYTES / 2) /* beyond that, room is kept for refusals */

/* How many requests the record of a served one stands for; 0: it is not recorded. */
static inline u32 weight_of_served(struct state *now, u64 time)
{
    u32 zero = 0;
    struct pace *pace = paces.lookup(&zero);
    u64 weight;

    if (!pace)
        return 0;
    if (pace->due > time + BURST_NS ||
        bpf_ringbuf_query(FLOW_RECORDS, BPF_RB_AVAIL_DATA) > RECORDS_SERVED) {
        pace->skipped++;
        count(COUNTER_RECORDS_SKIPPED);
        return 0;
    }
    if (pace->due < time)
        pace->due = time;
    pace->due += now->record_interval;
    weight = pace->skipped + 1;
    pace->skipped = 0;
    return weight;
}

/* Everything but the head. 0: there is no room. */
static inline struct request_record *new_record(struct http *http, u64 key, u32 number, u64 time,
                                                u32 weight, u16 rule, u8 reason, u8 what)
{
    struct request_record *record = bpf_ringbuf_reserve(FLOW_RECORDS, sizeof(*record), 0);

    if (!record) {
        count(COUNTER_RECORDS_LOST);
        return 0;
    }
    record->exchange = key;
    record->time = time + (number & (ENTRIES - 1)); /* those of one message differ */
    record->rules_id = http->rules_id;
    record->number = number;
    record->weight = weight;
    record->rule = rule;
    record->reason = reason;
    record->what = what;
    record->client = http->client;
    record->server = http->server;
    __builtin_memcpy(record->client_address, http->server_key.client, 16);
    __builtin_memcpy(record->server_address, http->server_address, 16);
    record->client_port = http->server_key.client_port;
    record->server_port = http->port;
    record->way = *(volatile u64 *)&http->mode;
    record->told = 1;
    record->size = 0;
    record->pad = 0;
    return record;
}

/* A head that comes in pieces: what there is of it is kept, for its record. */
static inline struct beginning *keep_beginning(struct __sk_buff *skb, struct http *http, u64 key,
                                               u32 start, u32 size)
{
    struct beginning *found = beginnings.lookup(&key), *none;
    u64 have, more = size - start;
    u32 zero = 0;

    if (!found || start || !http->reading.ahead) {
        none = no_beginning.lookup(&zero);
        if (!none || beginnings.update(&key, none))
            return 0;
        found = beginnings.lookup(&key);
        if (!found)
            return 0;
    }
    have = found->size;
    if (have >= RECORD_HEAD)
        return found;
    if (more > RECORD_HEAD)
        more = RECORD_HEAD;
    if (!IS_BETWEEN_1_AND(RECORD_HEAD, more) ||
        bpf_skb_load_bytes(skb, start, found->bytes + (have & (RECORD_HEAD - 1)), more))
        return found;
    found->size = have + more;
    return found;
}

/* The beginning of a request's head, for its record. */
static inline void take_head(void *ctx, const int source, struct http *http, u64 key,
                             struct request_record *record, u32 start, u32 size)
{
    struct sk_msg_md *msg = ctx;
    u64 have = size - start;

    if (have > RECORD_HEAD)
        have = RECORD_HEAD;
    if (source == FROM_MSG) {
        if (IS_BETWEEN_1_AND(RECORD_HEAD, have) && !bpf_msg_pull_data(msg, start, start + have, 0) &&
            !bpf_probe_read_kernel(record->head, have, msg->data))
            record->size = have;
        return;
    }
    if (!start && http->reading.ahead) {
        struct beginning *found = keep_beginning(ctx, http, key, start, size);

        if (!found || bpf_probe_read_kernel(record->head, RECORD_HEAD, found->bytes))
            return;
        record->size = found->size < RECORD_HEAD ? found->size : RECORD_HEAD;
        return;
    }
    if (IS_BETWEEN_1_AND(RECORD_HEAD, have) && !bpf_skb_load_bytes(ctx, start, record->head, have))
        record->size = have;
}

/* Until it is known what becomes of a message, entries for its requests have the place of the head
 * and the rule that decided, instead of a time. */
#define PLACE(start, rule) ((start) | (u32)((rule) + 1) << 20)
#define PLACE_START(place) ((place) & 0xfffff)
#define PLACE_RULE(place) ((u16)(((place) >> 20) - 1))

/* Counts the request http->reading.number, whose entry has its place, and gives it the time. Its
 * record, if it gets one, is for the caller to submit. */
static inline struct request_record *decided(void *ctx, const int source, struct http *http,
                                             u64 key, struct state *now, u32 size)
{
    u32 number = AGAIN(http->reading.number);
    struct entry *entry = &http->entries[number & (ENTRIES - 1)];
    u32 place = entry->time, kind = entry->kind, weight = 1;
    u64 time = AGAIN(http->reading.time);
    u8 reason = kind >= ENTRY_REFUSAL ? (kind - ENTRY_REFUSAL) / 8 : REASON_RULE_ALLOWED;
    struct request_record *record;

    entry->what = WHAT_OF(entry->content);
    entry->time = time / 1000;
    tally_decision(http, PLACE_RULE(place), reason, entry->what);
    if (kind < ENTRY_REFUSAL)
        weight = weight_of_served(now, time);
    if (!weight)
        return 0;
    record = new_record(http, key, number, time, weight, PLACE_RULE(place), reason, entry->what);
    if (!record)
        return 0;
    take_head(ctx, source, http, key, record, PLACE_START(place), size);
    if (kind < ENTRY_REFUSAL) {
        entry->recorded = 1;
        http->recorded++;
    }
    return record;
}

/* The same for all up to http->reading.upto. */
static inline int decide_all(void *ctx, const int source, struct http *http, u64 key,
                             struct state *now, u32 size)
{
    for (;;) {
        OR_GOTO(out);
        if (AGAIN(http->reading.number) == AGAIN(http->reading.upto))
            return 0;
        struct request_record *record = decided(ctx, source, http, key, now, size);

        if (record)
            bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
        http->reading.number++;
    }
out:
    return -1;
}

/* How the request `number` ended, or, if `ended`, it and all after it with the connection. */
static inline void record_end(struct http *http, u64 key, u32 number, u32 ended)
{
    struct answer_record *record = bpf_ringbuf_reserve(FLOW_RECORDS, sizeof(*record), 0);
    struct entry *entry = &http->entries[number & (ENTRIES - 1)];
    u32 begun = entry->kind >= ENTRY_BEGUN;
    u64 ledger = *(volatile u64 *)&http->ledger;

    http->told++;
    if (!record) {
        count(COUNTER_RECORDS_LOST);
        return;
    }
    record->exchange = key;
    record->request_content = (u32)(ledger >> 32) == number + 1 ? http->content : 0;
    record->content = begun ? entry->content : 0;
    record->number = number;
    record->latency = begun ? entry->time : 0;
    record->status = begun ? entry->kind - ENTRY_BEGUN : 0;
    record->ended = ended;
    record->doom = http->dead ? http->doom + 1 : 0;
    record->lost = http->answer_lost;
    record->pad[0] = record->pad[1] = record->pad[2] = 0;
    bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* Counts the answers that have begun since the last time, and records those that are complete. If
 * the connection has ended, what has no answer gets none; where answers could not be followed any
 * more, nobody knows. */
static inline void account(struct http *http, u64 key, const int ended)
{
    for (;;) {
        OR_GOTO(out);
        u64 ledger = *(volatile u64 *)&http->ledger;
        u32 number = AGAIN(http->accounted), settled = ledger, status = 0;
        struct entry *entry = &http->entries[number & (ENTRIES - 1)];
        u32 begun = entry->kind >= ENTRY_BEGUN;

        if (number == (u32)(ledger >> 32))
            break;
        u32 lacks = ended && !http->answer_lost && entry->kind < ENTRY_BOUNCE;

        if (!AGAIN(http->counted) && (begun || lacks)) {
            http->counted = 1;
            if (begun) {
                status = entry->kind - ENTRY_BEGUN;
                /* The time at which an answer was complete in this message has just been taken. */
                u32 now = http->answered_at;

                if (ended || !http->answer_around || number == settled)
                    now = bpf_ktime_get_ns() / 1000;
                entry->time = FORGOTTEN(http->now, now) - entry->time;
                tally_latency(entry->time, entry->what);
            }
            tally_outcome(status, entry->what);
        }
        if ((s32)(number - settled) >= 0 && !ended)
            break;
        if (entry->recorded && (s32)(number - settled) < 0)
            record_end(http, key, number, 0);
        http->counted = 0;
        http->accounted = number + 1;
    }
out:
    return;
}

/* The server's end is closed. */
static inline void connection_ends(struct http *http, u64 key)
{
    account(http, key, 1);
    if (http->recorded != http->told)
        record_end(http, key, *(volatile u64 *)&http->ledger, 1);
}
