/* SPDX-License-Identifier: Apache-2.0
 *
 * RocketMQ keeps checksums in Java ints and drops the sign bit.
 */
#include "common/base/crc32.h"

#include <isa-l/crc.h>

uint32_t rocketmq_crc32(struct slice s)
{
    return crc32_gzip_refl(0, s.data, s.size) & 0x7FFFFFFFU;
}
