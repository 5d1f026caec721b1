/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs Apache's Java client against a name server and its broker, case by case.
 *
 *     java ... org.cometmq.interop.Main NAMESRV [FILTER]
 *
 * FILTER is a regular expression that the case's name must contain. Every case prints one line,
 * `ok NAME`, `FAILED NAME reason` or, for the cases named in the comma list of the property
 * interop.unserved, `skipped NAME`. Exit status 0 only when none failed and at least one passed.
 */
package org.cometmq.interop;

import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
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
    String prefix = System.getProperty("interop.prefix", "");
    Pattern filter = Pattern.compile(args.length > 1 ? args[1] : "");
    Set<String> unserved =
        new HashSet<>(Arrays.asList(System.getProperty("interop.unserved", "").split(",")));
    Map<String, Case> cases = new LinkedHashMap<>();
    SendCases.addTo(cases);
    ConsumeCases.addTo(cases);
    GroupCases.addTo(cases);
    ClientCases.addTo(cases);
    FilterCases.addTo(cases);
    RetryCases.addTo(cases);
    TimerCases.addTo(cases);
    QueryCases.addTo(cases);
    TransactionCases.addTo(cases);
    ReplyCases.addTo(cases);
    OrderCases.addTo(cases);
    AdminCases.addTo(cases);
    BulkCase.addTo(cases);
    if (Bench.accessIsChecked()) {
      AclCases.addTo(cases);
    }

    int passed = 0;
    int failed = 0;
    int skipped = 0;
    for (Map.Entry<String, Case> entry : cases.entrySet()) {
      String name = prefix + entry.getKey();
      if (!filter.matcher(name).find()) {
        continue;
      }
      if (unserved.contains(entry.getKey())) {
        System.out.println("skipped " + name);
        skipped++;
        continue;
      }
      long start = System.nanoTime();
      try (Bench bench = new Bench(args[0])) {
        entry.getValue().run(bench);
        System.out.printf("ok %s (%.1f s)%n", name, (System.nanoTime() - start) / 1e9);
        passed++;
      } catch (Throwable error) {
        System.out.println("FAILED " + name + " " + reason(error));
        failed++;
      }
      System.out.flush();
    }
    System.out.printf("java: %d passed, %d failed, %d skipped%n", passed, failed, skipped);
    System.exit(failed == 0 && passed > 0 ? 0 : 1);
  }
}
