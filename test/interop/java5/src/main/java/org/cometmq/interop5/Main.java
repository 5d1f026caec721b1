/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs Apache's Java client of 5.3.3 against a name server and its broker, case by case.
 *
 *     java ... org.cometmq.interop5.Main NAMESRV [FILTER]
 *
 * FILTER is a regular expression that the case's name must contain. Every case prints one line,
 * `ok NAME` or `FAILED NAME reason`. Exit status 0 only when none failed and at least one passed.
 */
package org.cometmq.interop5;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Pattern;

public final class Main {
  private Main() {}

  /** One thing to show; throws when it does not hold. */
  interface Case {
    void run(Bench bench) throws Exception;
  }

  private static String reason(Throwable error) {
    StringBuilder text = new StringBuilder();
    for (Throwable t = error; t != null && text.length() < 600; t = t.getCause()) {
      text.append(text.length() == 0 ? "" : "; caused by ").append(t);
    }
    for (StackTraceElement place : error.getStackTrace()) {
      if (place.getClassName().startsWith("org.cometmq") && !place.getMethodName().equals("check")) {
        text.append(" at ").append(place.getFileName()).append(':').append(place.getLineNumber());
        break;
      }
    }
    return text.toString().replace('\n', ' ');
  }

  public static void main(String[] args) {
    if (args.length < 1) {
      System.err.println("usage: Main NAMESRV_HOST:PORT [FILTER]");
      System.exit(2);
    }
    Pattern filter = Pattern.compile(args.length > 1 ? args[1] : "");
    Map<String, Case> cases = new LinkedHashMap<>();
    PullCases.addTo(cases);
    PopCases.addTo(cases);

    int passed = 0;
    int failed = 0;
    for (Map.Entry<String, Case> entry : cases.entrySet()) {
      if (!filter.matcher(entry.getKey()).find()) {
        continue;
      }
      long start = System.nanoTime();
      try (Bench bench = new Bench(args[0])) {
        entry.getValue().run(bench);
        System.out.printf("ok %s (%.1f s)%n", entry.getKey(), (System.nanoTime() - start) / 1e9);
        passed++;
      } catch (Throwable error) {
        System.out.println("FAILED " + entry.getKey() + " " + reason(error));
        failed++;
      }
      System.out.flush();
    }
    System.out.printf("java5: %d passed, %d failed%n", passed, failed);
    System.exit(failed == 0 && passed > 0 ? 0 : 1);
  }
}
