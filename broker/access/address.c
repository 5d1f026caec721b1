/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses are compared as numbers, so that every spelling of an IPv6 address is the same one.
 * Single addresses are looked up in a map; ranges are tried one after the other.
 * Source: RMQ acl/.../RemoteAddressStrategyFactory.java, AclUtils.java.
 */
#include "broker/access/address.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/number.h"

#include <stdlib.h>

#define PARTS_MAX 8
#define ADDRESS_TEXT_BYTES 64 /* longer than any single address */

struct address_range {
    int parts; /* 4 or 8, of the address */
    int fixed; /* how many parts are given before the range */
    uint16_t head[PARTS_MAX];
    uint16_t from;
    uint16_t to;
};

static enum status refuse(struct err *err, struct slice text, const char *why)
{
    return err_set(err, STATUS_MALFORMED, "\"%.*s\" is no address or range of addresses: %s",
                   text.size > 100 ? 100 : (int)text.size, (const char *)text.data, why);
}

/* --- single addresses --- */

/* An IPv4 address inside an IPv6 one is that IPv4 address: so the system shows such peers. */
static void unmap(struct host *host)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    if (host->ip_bytes == 16 && memcmp(host->ip, prefix, sizeof prefix) == 0) {
        memmove(host->ip, host->ip + 12, 4);
        host->ip_bytes = 4;
    }
}

static bool parse_host(struct slice text, struct host *out)
{
    char copy[ADDRESS_TEXT_BYTES];
    if (text.size == 0 || text.size >= sizeof copy || memchr(text.data, '\0', text.size) != NULL)
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    if (!host_parse(copy, 0, out))
        return false;
    unmap(out);
    return true;
}

static enum status add_host(struct address_list *list, struct slice whole, struct slice text,
                            struct err *err)
{
    static char present;
    struct host host;
    if (!parse_host(text, &host))
        return refuse(
            err, whole,
            "write an IPv4 or IPv6 address, or several with commas and no blanks between");
    (void)map_put(&list->hosts, slice_of(host.ip, host.ip_bytes), &present);
    return STATUS_OK;
}

/* Cut `*rest` at the next separator; false when nothing is left. Empty pieces are passed over. */
static bool next_piece(struct slice *rest, char separator, struct slice *piece)
{
    while (rest->size > 0 && rest->data[0] == (uint8_t)separator)
        *rest = slice_from(*rest, 1);
    if (rest->size == 0)
        return false;
    const uint8_t *end = memchr(rest->data, separator, rest->size);
    size_t size = end == NULL ? rest->size : (size_t)(end - rest->data);
    *piece = slice_of(rest->data, size);
    *rest = slice_from(*rest, size);
    return true;
}

static enum status add_several(struct address_list *list, struct slice text, struct err *err)
{
    struct slice rest = text;
    struct slice piece;
    while (next_piece(&rest, ',', &piece)) {
        enum status status = add_host(list, text, piece, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* prefix{a,b}: the braces hold the last part. */
static enum status add_braces(struct address_list *list, struct slice text, struct err *err)
{
    const uint8_t *open = memchr(text.data, '{', text.size);
    size_t prefix = open == NULL ? 0 : (size_t)(open - text.data);
    if (prefix == 0 || (open[-1] != '.' && open[-1] != ':'))
        return refuse(err, text, "{...} stands for the last part of an address");
    struct slice rest = slice_of(open + 1, text.size - prefix - 2);
    struct slice piece;
    while (next_piece(&rest, ',', &piece)) {
        char copy[ADDRESS_TEXT_BYTES];
        if (prefix + piece.size > sizeof copy || memchr(piece.data, '.', piece.size) != NULL ||
            memchr(piece.data, ':', piece.size) != NULL)
            return refuse(err, text, "{...} stands for the last part of an address");
        memcpy(copy, text.data, prefix);
        memcpy(copy + prefix, piece.data, piece.size);
        enum status status = add_host(list, text, slice_of(copy, prefix + piece.size), err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* --- ranges --- */

static bool parse_decimal(struct slice text, uint16_t *out)
{
    int64_t number;
    if (text.size == 0 || text.size > 3 || text.data[0] < '0' || text.data[0] > '9' ||
        !parse_i64(text, &number) || number < 0 || number > 255)
        return false;
    *out = (uint16_t)number;
    return true;
}

static bool parse_hex(struct slice text, uint16_t *out)
{
    unsigned number = 0;
    if (text.size == 0 || text.size > 4)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i] | 0x20;
        bool digit = c >= '0' && c <= '9';
        if (!digit && (c < 'a' || c > 'f'))
            return false;
        number = number * 16 + (unsigned)(digit ? c - '0' : c - 'a' + 10);
    }
    *out = (uint16_t)number;
    return true;
}

static bool parse_part(bool v6, struct slice text, uint16_t *out)
{
    return v6 ? parse_hex(text, out) : parse_decimal(text, out);
}

static bool is_range(struct slice part)
{
    return slice_is(part, "*") || (part.size > 0 && memchr(part.data, '-', part.size) != NULL);
}

/* "*" or "from-to". */
static bool parse_range(bool v6, struct slice part, struct address_range *out)
{
    out->from = 0;
    out->to = v6 ? 0xffff : 255;
    if (slice_is(part, "*"))
        return true;
    const uint8_t *minus = memchr(part.data, '-', part.size);
    size_t before = (size_t)(minus - part.data);
    return parse_part(v6, slice_of(part.data, before), &out->from) &&
           parse_part(v6, slice_from(part, before + 1), &out->to) && out->from <= out->to;
}

static enum status add_range(struct address_list *list, const struct address_range *range,
                             struct err *err)
{
    if (list->range_count >= ACL_RANGES_MAX)
        return err_set(err, STATUS_TOO_LARGE,
                       "there are more than %d ranges of addresses in one list; every request "
                       "would have to be compared with all of them",
                       ACL_RANGES_MAX);
    list->ranges = xrealloc(list->ranges, (list->range_count + 1) * sizeof *list->ranges);
    list->ranges[list->range_count++] = *range;
    return STATUS_OK;
}

static enum status add_v4_range(struct address_list *list, struct slice text, struct err *err)
{
    struct address_range range = {.parts = 4};
    struct slice parts[4];
    struct slice rest = text;
    struct slice piece;
    int count = 0;
    while (next_piece(&rest, '.', &piece)) {
        if (count == 4)
            return refuse(err, text, "an IPv4 address has four parts");
        parts[count++] = piece;
    }
    if (count != 4)
        return refuse(err, text, "an IPv4 address has four parts");
    while (range.fixed < 4 && !is_range(parts[range.fixed])) {
        if (!parse_part(false, parts[range.fixed], &range.head[range.fixed]))
            return refuse(err, text, "a part is a number from 0 to 255");
        range.fixed++;
    }
    if (range.fixed == 0 || range.fixed == 4 || !parse_range(false, parts[range.fixed], &range))
        return refuse(
            err, text,
            "the second, third or fourth part may be * or from-to, with numbers from 0 to "
            "255");
    return add_range(list, &range, err);
}

/* The parts before a range, as many as are written; with :: they are `full`. */
static bool parse_v6_head(struct slice text, int full, struct address_range *out)
{
    struct slice rest = text;
    uint16_t tail[PARTS_MAX];
    int tail_count = 0;
    bool compressed = false;
    out->fixed = 0;
    while (true) {
        const uint8_t *colon = rest.size == 0 ? NULL : memchr(rest.data, ':', rest.size);
        size_t size = colon == NULL ? rest.size : (size_t)(colon - rest.data);
        uint16_t part = 0;
        if (size > 0 && !parse_hex(slice_of(rest.data, size), &part))
            return false;
        if (out->fixed + tail_count >= PARTS_MAX)
            return false;
        /* "::" inside, or in front, where both of its sides are empty. */
        bool at_double = colon != NULL && rest.size > size + 1 && colon[1] == ':';
        bool keep = size > 0 || colon == NULL;
        if (compressed && colon == NULL && size == 0)
            return false; /* "a::b:" */
        if (keep && compressed)
            tail[tail_count++] = part;
        else if (keep)
            out->head[out->fixed++] = part;
        if (colon == NULL)
            break;
        if (at_double) {
            if (compressed)
                return false;
            compressed = true;
            size++;
        } else if (!keep) {
            return false; /* ":1" */
        }
        rest = slice_from(rest, size + 1);
    }
    if (!compressed)
        return true;
    if (out->fixed + tail_count >= full)
        return false;
    while (out->fixed + tail_count < full)
        out->head[out->fixed++] = 0;
    memcpy(out->head + out->fixed, tail, (size_t)tail_count * sizeof tail[0]);
    out->fixed = full;
    return true;
}

static size_t last_colon(struct slice text)
{
    size_t at = text.size;
    while (at > 0 && text.data[at - 1] != ':')
        at--;
    return at; /* behind it; 0: there is none */
}

static enum status add_v6_range(struct address_list *list, struct slice text, struct err *err)
{
    static const char usage[] = "the last part of an IPv6 address may be * or from-to, and the one "
                                "before it from-to when the last is *, in hexadecimal digits";
    struct address_range range = {.parts = 8};
    int full = 7;
    size_t at = last_colon(text);
    struct slice part = slice_from(text, at);
    struct slice head = slice_of(text.data, at < 1 ? 0 : at - 1);
    size_t before = last_colon(head);
    struct slice last_of_head = slice_from(head, before);
    if (slice_is(part, "*") && !slice_is(last_of_head, "*") && is_range(last_of_head)) {
        part = last_of_head;
        head = slice_of(text.data, before < 1 ? 0 : before - 1);
        full = 6;
    }
    if (!is_range(part) || head.size == 0 || slice_is(head, ":") ||
        !parse_v6_head(head, full, &range) || range.fixed > full ||
        !parse_range(true, part, &range))
        return refuse(err, text, usage);
    return add_range(list, &range, err);
}

/* --- lists --- */

static struct slice trim(struct slice text)
{
    while (text.size > 0 && text.data[0] <= ' ')
        text = slice_from(text, 1);
    while (text.size > 0 && text.data[text.size - 1] <= ' ')
        text.size--;
    return text;
}

static bool has(struct slice text, char c)
{
    return memchr(text.data, c, text.size) != NULL;
}

enum status address_list_add(struct address_list *list, struct slice text, struct err *err)
{
    text = trim(text);
    if (text.size == 0)
        return STATUS_OK;
    if (slice_is(text, "*") || slice_is(text, "*.*.*.*") || slice_is(text, "*:*:*:*:*:*:*:*")) {
        list->everybody = true;
        return STATUS_OK;
    }
    if (text.data[text.size - 1] == '}')
        return add_braces(list, text, err);
    if (has(text, ','))
        return add_several(list, text, err);
    if (!has(text, '*') && !has(text, '-'))
        return add_host(list, text, text, err);
    return has(text, ':') ? add_v6_range(list, text, err) : add_v4_range(list, text, err);
}

static bool matches(const struct address_range *range, const struct host *host)
{
    uint16_t parts[PARTS_MAX];
    if (host->ip_bytes != (range->parts == 4 ? 4 : 16))
        return false;
    for (int i = 0; i < range->parts; i++)
        parts[i] = range->parts == 4 ? host->ip[i] : get_u16(host->ip + 2 * (ptrdiff_t)i);
    return memcmp(parts, range->head, (size_t)range->fixed * sizeof parts[0]) == 0 &&
           parts[range->fixed] >= range->from && parts[range->fixed] <= range->to;
}

bool address_list_has(const struct address_list *list, const struct host *peer)
{
    struct host host = *peer;
    if (list->everybody)
        return true;
    unmap(&host);
    if (list->hosts.count > 0 && map_get(&list->hosts, slice_of(host.ip, host.ip_bytes)) != NULL)
        return true;
    for (size_t i = 0; i < list->range_count; i++)
        if (matches(&list->ranges[i], &host))
            return true;
    return false;
}

void address_list_release(struct address_list *list)
{
    map_release(&list->hosts);
    free(list->ranges);
    *list = ADDRESS_LIST_EMPTY;
}
