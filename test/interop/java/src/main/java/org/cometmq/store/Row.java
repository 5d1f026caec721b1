/* SPDX-License-Identifier: Apache-2.0
 *
 * One stored message as the client decodes it, and its line in a table.
 */
package org.cometmq.store;

import com.alibaba.fastjson.JSON;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;

final class Row {
  static final String HEAD =
      String.join(
          "\t",
          "topic",
          "queueId",
          "queueOffset",
          "commitLogOffset",
          "size",
          "sysFlag",
          "flag",
          "bornTimestamp",
          "bornHost",
          "storeTimestamp",
          "storeHost",
          "reconsumeTimes",
          "preparedTransactionOffset",
          "bodyCrc",
          "offsetMsgId",
          "uniqKey",
          "tags",
          "keys",
          "bodySha256",
          "properties",
          "recordSha256",
          "cqTagsCode");

  final MessageExt message;
  /** Of the stored bytes, which only the table has. */
  final String recordSha256;

  final long tagsCode;

  Row(MessageExt message, String recordSha256, long tagsCode) {
    this.message = message;
    this.recordSha256 = recordSha256;
    this.tagsCode = tagsCode;
  }

  static String sha256(byte[] bytes, int offset, int size) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      digest.update(bytes, offset, size);
      StringBuilder text = new StringBuilder();
      for (byte b : digest.digest()) {
        text.append(Character.forDigit(b >> 4 & 15, 16)).append(Character.forDigit(b & 15, 16));
      }
      return text.toString();
    } catch (java.security.NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  private static String host(SocketAddress address) {
    InetSocketAddress inet = (InetSocketAddress) address;
    String ip = inet.getAddress().getHostAddress();
    return (ip.contains(":") ? "[" + ip + "]" : ip) + ":" + inet.getPort();
  }

  private static String text(String value) {
    return value == null ? "" : value;
  }

  /** What a client can see of a message, however it came by it. */
  static String describe(MessageExt message) {
    Map<String, String> properties = new TreeMap<>(message.getProperties());
    /* The client adds these to what it pulls. */
    properties.remove(MessageConst.PROPERTY_MIN_OFFSET);
    properties.remove(MessageConst.PROPERTY_MAX_OFFSET);
    ByteBuffer idSpace =
        ByteBuffer.allocate(
            ((InetSocketAddress) message.getStoreHost()).getAddress().getAddress().length == 4
                ? 16
                : 28);
    return String.join(
        "\t",
        message.getTopic(),
        String.valueOf(message.getQueueId()),
        String.valueOf(message.getQueueOffset()),
        String.valueOf(message.getCommitLogOffset()),
        String.valueOf(message.getStoreSize()),
        String.valueOf(message.getSysFlag()),
        String.valueOf(message.getFlag()),
        String.valueOf(message.getBornTimestamp()),
        host(message.getBornHost()),
        String.valueOf(message.getStoreTimestamp()),
        host(message.getStoreHost()),
        String.valueOf(message.getReconsumeTimes()),
        String.valueOf(message.getPreparedTransactionOffset()),
        String.valueOf(message.getBodyCRC()),
        MessageDecoder.createMessageId(
            idSpace, message.getStoreHostBytes(), message.getCommitLogOffset()),
        text(message.getProperty(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX)),
        text(message.getTags()),
        text(message.getKeys()),
        sha256(message.getBody(), 0, message.getBody().length),
        JSON.toJSONString(properties));
  }

  String line() {
    return describe(message) + "\t" + recordSha256 + "\t" + tagsCode;
  }
}
