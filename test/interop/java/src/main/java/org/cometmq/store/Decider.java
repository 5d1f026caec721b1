/* SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of a transaction is the first word of its body: commit, rollback, or later, which
 * is undecided until the broker asks and `decided` is set.
 */
package org.cometmq.store;

import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

final class Decider implements TransactionListener {
  volatile boolean decided;

  @Override
  public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
    String body = new String(message.getBody(), StandardCharsets.UTF_8);
    if (body.startsWith("commit")) {
      return LocalTransactionState.COMMIT_MESSAGE;
    }
    return body.startsWith("rollback")
        ? LocalTransactionState.ROLLBACK_MESSAGE
        : LocalTransactionState.UNKNOW;
  }

  @Override
  public LocalTransactionState checkLocalTransaction(MessageExt message) {
    return decided ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.UNKNOW;
  }
}
