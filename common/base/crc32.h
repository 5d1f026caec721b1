/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC-32 (the one of zlib and gzip), by ISA-L's vector code.
 */
#ifndef COMMON_BASE_CRC32_H
#define COMMON_BASE_CRC32_H

#include "common/base/bytes.h"

/* The checksum as RocketMQ stores it in records and registration headers: CRC-32 & 0x7FFFFFFF. */
uint32_t rocketmq_crc32(struct slice s);

#endif
