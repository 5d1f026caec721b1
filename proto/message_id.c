/* SPDX-License-Identifier: Apache-2.0
 *
 * Offset message ids, in upper-case hex, all big-endian:
 *
 *   address    4 or 16 bytes
 *   port       4
 *   offset     8               commit log offset of the record
 */
#include "proto/message_id.h"

#include "common/base/check.h"

#include <arpa/inet.h>
#include <stdio.h>

#define IPV4_BYTES 4
#define IPV6_BYTES 16
#define ID_TAIL_BYTES 12 /* port and offset */

#define HEX_ROW(high)                                                                              \
    high "0" high "1" high "2" high "3" high "4" high "5" high "6" high "7" high "8" high "9" high \
         "A" high "B" high "C" high "D" high "E" high "F"

/* Two characters for each byte value. */
static const char hex_pairs[513] = HEX_ROW("0") HEX_ROW("1") HEX_ROW("2") HEX_ROW("3") HEX_ROW("4")
    HEX_ROW("5") HEX_ROW("6") HEX_ROW("7") HEX_ROW("8") HEX_ROW("9") HEX_ROW("A") HEX_ROW("B")
        HEX_ROW("C") HEX_ROW("D") HEX_ROW("E") HEX_ROW("F");

void host_format(const struct host *host, char out[HOST_TEXT_BYTES])
{
    const uint8_t *ip = host->ip;
    if (host->ip_bytes == IPV4_BYTES)
        (void)snprintf(out, HOST_TEXT_BYTES, "%u.%u.%u.%u:%d", ip[0], ip[1], ip[2], ip[3],
                       host->port);
    else
        (void)snprintf(out, HOST_TEXT_BYTES, "[%x:%x:%x:%x:%x:%x:%x:%x]:%d", get_u16(ip),
                       get_u16(ip + 2), get_u16(ip + 4), get_u16(ip + 6), get_u16(ip + 8),
                       get_u16(ip + 10), get_u16(ip + 12), get_u16(ip + 14), host->port);
}

size_t message_id_format(const struct host *store_host, int64_t commit_log_offset,
                         char out[MESSAGE_ID_TEXT_BYTES])
{
    uint8_t id[IPV6_BYTES + ID_TAIL_BYTES];
    size_t ip_bytes = store_host->ip_bytes;
    CHECK(ip_bytes == IPV4_BYTES || ip_bytes == IPV6_BYTES);
    memcpy(id, store_host->ip, IPV6_BYTES);
    put_i32(id + ip_bytes, store_host->port);
    put_i64(id + ip_bytes + 4, commit_log_offset);
    size_t id_bytes = ip_bytes + ID_TAIL_BYTES;
    for (size_t i = 0; i < id_bytes; i++)
        memcpy(out + 2 * i, hex_pairs + 2 * (size_t)id[i], 2);
    return 2 * id_bytes;
}

bool host_parse(const char *ip, int32_t port, struct host *out)
{
    struct host host = {.port = port};
    if (inet_pton(AF_INET, ip, host.ip) == 1)
        host.ip_bytes = IPV4_BYTES;
    else if (inet_pton(AF_INET6, ip, host.ip) == 1)
        host.ip_bytes = IPV6_BYTES;
    else
        return false;
    *out = host;
    return true;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool message_id_parse(struct slice text, struct host *store_host, int64_t *commit_log_offset)
{
    uint8_t id[IPV6_BYTES + ID_TAIL_BYTES];
    size_t id_bytes = text.size / 2;
    if (text.size != 2 * (IPV4_BYTES + ID_TAIL_BYTES) &&
        text.size != 2 * (IPV6_BYTES + ID_TAIL_BYTES))
        return false;
    for (size_t i = 0; i < id_bytes; i++) {
        int high = hex_digit(text.data[2 * i]);
        int low = hex_digit(text.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        id[i] = (uint8_t)(high << 4 | low);
    }
    size_t ip_bytes = id_bytes - ID_TAIL_BYTES;
    *store_host = (struct host){.ip_bytes = (uint8_t)ip_bytes, .port = get_i32(id + ip_bytes)};
    memcpy(store_host->ip, id, ip_bytes);
    *commit_log_offset = get_i64(id + ip_bytes + 4);
    return true;
}
