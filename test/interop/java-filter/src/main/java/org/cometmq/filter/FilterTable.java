// SPDX-License-Identifier: Apache-2.0
package org.cometmq.filter;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;
import org.apache.rocketmq.filter.parser.SelectorParser;

/**
 * Writes test/data/filter.tsv: what RocketMQ 4.9.2's own filter makes of many expressions and
 * property strings. The same seed gives the same file.
 *
 * <pre>
 * P  property string                     as stored in messages; one line each
 * E  expression  results                 X: does not compile; else one letter for each property
 *                                        string: T, F, N (null), E (the evaluation fails)
 * </pre>
 *
 * Bytes outside printable ASCII, and backslashes, are written as \xHH.
 */
public final class FilterTable {
  private static final long SEED = 492;
  private static final int GROWN = 3000;
  private static final int MIXED = 2000;
  private static final int MUTATED = 1500;

  private static final char PAIR = 1;
  private static final char NEXT = 2;

  private static final String[] VALUES = {
    "5", "5.5", "-5", "+5", " 5 ", "0x10", "1e3", "abc", "true", "TRUE", "false", "tRue",
    "2147483647", "2147483648", "-2147483648", "-2147483649", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "NaN", "-NaN", "Infinity", "-Infinity", "1f",
    "5d", "5.D", "-0", "0", "0.0", "-0.0", "00005", "it's", "'", "\u00e9t\u00e9",
    "\ud83d\ude00", "1e400", "1e-400", ".5", "5.", ".", "-", "+", "1e", "0x1p3", "0x1.8P1f", "0x",
    "1_000", "5L", "\t7\n", "3", "4", "10", "1000", "4.9e-324", "1.7976931348623157e308",
    "9007199254740993", "inf", "nan", "0x1.p1", "0x.8p1", "1.5e+2", "1.5e-2x", "  ", "x",
  };

  private static final String[] NAMES = {"a", "b", "c", "_d$1", "TAGS", "missing"};

  private static final String[] LITERALS = {
    "0", "1", "3", "4", "5", "10", "1000", "2147483647", "2147483648", "9223372036854775807",
    "9223372036854775808", "5L", "5l", "0L", "007", "5.5", "5.", ".5", "5E3", "5e-3", "5.e+2",
    "1e400", "1e-400", "0.0", "0.5", "1e3", "'5'", "'abc'", "'it''s'", "''", "''''", "'true'",
    "'5.5'", "'\u00e9t\u00e9'", "TRUE", "false", "True", "NULL", "4.9e-324", "9007199254740993",
  };

  private static final String[] TOKENS = {
    "a", "b", "c", "missing", "5", "4.5", "'x'", "'abc'", "TRUE", "FALSE", "NULL", "NOT", "AND",
    "OR", "BETWEEN", "IN", "IS", "=", "<>", ">", ">=", "<", "<=", "(", ")", ",", "+", "-", "--",
    "--\n", "/*x*/", "/* ' */", "#", "!", "a.b", "1.", "LIKE", "'", "not", "And", "Null", "\t",
    "\r\n", "a1", "$", "!=", "==", "=>", "\"x\"", "in", "/", "*", "%", "?", ";", "\u00e9", "9L9",
  };

  private static final String[] BY_HAND = {
    "a", "NOT a", "a AND b", "a OR b", "-a", "+a", "+ + a", "'x'", "5", "TRUE", "FALSE", "NULL",
    "NOT NULL", "a LIKE 'x'", "a > 4 foo", "a > 4 foo #", "a > 4 #", "a > 4 )", "a > 4 ,", "",
    " ", "(", ")", "()", "(a)", "((a > 4))", "(a) IN ('5')", "+a IN ('5', 'abc')", "-a IN ('5')",
    "a IN ()", "a IN ('5',)", "a IN (5)", "a IN ('5' 'x')", "a NOT IN ('5')", "NOT a IN ('5')",
    "a IN ('1','2','3','4','5')", "a NOT IN ('1','2','3','4','abc','true')", "5 IN ('5')",
    "a IS NULL", "a IS NOT NULL", "a IS NOT", "a IS", "a IS TRUE", "5 IS NULL", "NULL IS NULL",
    "NULL IS NOT NULL", "-a IS NULL", "(a = 5) IS NULL", "(a > b) IS NOT NULL", "a = NULL",
    "NULL = a", "a <> NULL", "a = TRUE", "TRUE = a", "a <> TRUE", "a = FALSE", "TRUE = 'x'",
    "'x' = TRUE", "TRUE = 5", "5 = TRUE", "5.5 = TRUE", "TRUE = TRUE", "TRUE <> FALSE",
    "'a' = 'a'", "'a' = 'b'", "5 = '5'", "'5' = 5", "'x' = 5", "5 = 5.0", "5 = 5L",
    "2147483648 = '2147483648'", "5 > 'x'", "a > 'x'", "'x' < a", "a > TRUE", "a > NULL",
    "a > -'x'", "a > -b", "a = -5", "a = - 5", "a = --5", "a = --5\n", "a = --5\n5", "-(-5) = a",
    "- TRUE IS NULL", "a > b", "a >= b", "a < b", "a <= b", "a = b", "a <> b", "a > a", "a = a",
    "missing = missing", "missing <> missing", "missing > 5", "5 > missing", "a = missing",
    "a > 1 > 2", "a > 1 = TRUE", "(a > 1) = TRUE", "(a > 1) = (b > 1)", "a = b = c",
    "(a = 5) > 1", "a BETWEEN 1 AND 5", "a NOT BETWEEN 1 AND 5", "a BETWEEN 5 AND 1",
    "a NOT BETWEEN 5 AND 1", "a BETWEEN 'a' AND 'b'", "a BETWEEN 1 AND 'b'", "a BETWEEN b AND c",
    "a BETWEEN -1 AND -5", "a BETWEEN 1 AND NULL", "a BETWEEN 5 AND 5", "a BETWEEN 5 AND 5.0",
    "a BETWEEN 5.5 AND 5", "5 BETWEEN a AND b", "a BETWEEN 1 AND 5 AND b > 3",
    "a BETWEEN 1 AND 5 OR b > 3", "a NOT BETWEEN b AND c", "NOT a BETWEEN 1 AND 5", "a BETWEEN 1",
    "a BETWEEN 1 AND", "a BETWEEN (1) AND (5)", "a BETWEEN TRUE AND FALSE",
    "a BETWEEN TRUE AND TRUE", "a BETWEEN (b > 1) AND 5", "missing BETWEEN 1 AND 5",
    "a BETWEEN missing AND 5", "a BETWEEN 100 AND missing", "a NOT BETWEEN missing AND 5",
    "a BETWEEN 1 AND 9223372036854775807", "a BETWEEN 1L AND 5", "a = 5 OR TRUE", "TRUE OR a = 5",
    "a = 5 AND FALSE", "FALSE AND a = 5", "a = 5 OR missing > 3", "missing > 3 OR a = 5",
    "missing > 3 AND a = 5", "NOT (missing > 3)", "NOT NOT a", "NOT NOT a = 'abc'", "NOT a = 'abc'",
    "(NOT a) = TRUE", "a NOT", "a NOT 5", "a NOT NULL", "a NOT LIKE", "a NOT #", "a == 5",
    "a != 5", "a <> 5", "a < > 5", "a > = 5", "a=5", "a>=5AND b<3", "a=5and b=3", "a = 5.5.5",
    "a = 1e", "a = 1e5", "a = 1E+5", "a = 1e+", "a = 5LL", "a = 00", "a = 0x10", "a.b = 1",
    "_d$1 = '5'", "$ = 5", "A > 4", "a in ('5')", "a is null", "a between 1 and 5", "nOt a",
    "a = 5 -- comment", "a = 5 -- comment\n", "a = 5 -- c\nAND b = 5", "a /* c */ = /**/ 5",
    "a = 5 /* open", "a = 5 /*/", "a = /***/ 5", "a = 5 /* a ** b */ OR b = 3", "a = 'open",
    "a = 'x''", "a = 'x''y'", "a = '''", "TAGS = 'abc'", "TAGS IN ('5', 'x')", "a > 4 AND",
    "a > 4 OR", "AND", "OR a", "NOT", "a > 4 AND AND b", "a AND b OR c", "a > 4 AND b > 4 OR c > 4",
    "a > 4 AND (b > 4 OR c > 4)", "a = 5 AND b", "a = 5 AND 5", "a = 5 AND 'x'", "a = 5 AND NULL",
    "5 AND a = 5", "-a AND b", "(a) AND (b)", "+(a > 4)", "+(a > 4 AND b NOT IN ('x'))",
    "+(a IS NOT NULL OR b BETWEEN 1 AND 2)", "+ 'x' = a", "+5 = a", "-5 = a", "-5.5 < a", "+",
    "-", "+(", "+(a", "+ AND", "a = +5", "a = +-+5", "a = -9223372036854775807",
    "a = -2147483648", "a > -0.5", "a > .5", "a = 5f", "a = 5d", "a\t>\n4", "a\u000b> 4",
    "a\u00a0> 4", "\u00e9 = 5", "a = '\u00e9t\u00e9'", "a <> '\ud83d\ude00'", "\ufeffa = 5",
    "\u212a = 5", "\u017f = 5", "I\u017f NULL", "a\u0130 = 5", "a = 5\u0000", "a = '\u0000'",
    "a = 5;", "a > (b > 4)", "(a > 4) > b", "NOT (a > 4) = TRUE", "- - 5 = a", "-(a = 5) IS NULL",
    "b > -(a = 5)", "missing > -(a = 5)", "-(a = 5) > b", "-(a BETWEEN 1 AND 5) IS NULL",
    "a = 4.9e-324", "a = 2.4e-324", "a = 1.7976931348623157e308", "a = 1.7976931348623159e308",
    "a > 9007199254740992", "a = 9007199254740993.0", "a IN ('abc', 'abc', 'abc', 'abc', 'abc')",
  };

  private final Random random = new Random(SEED);
  private final List<String> properties = new ArrayList<>();
  private final Set<String> expressions = new LinkedHashSet<>();

  private String pick(String[] from) {
    return from[random.nextInt(from.length)];
  }

  private static String pair(String name, String value) {
    return name + PAIR + value + NEXT;
  }

  /** A plain one, then each value in turn beside random ones, then odd strings. */
  private void makeProperties() {
    properties.add("");
    properties.add(pair("a", "5") + pair("b", "abc") + pair("c", "10") + pair("TAGS", "x"));
    for (int i = 0; i < VALUES.length; i++) {
      String text = pair("KEYS", "k" + i) + pair("a", VALUES[i]);
      if (random.nextInt(8) != 0) {
        text += pair("b", pick(VALUES));
      }
      if (random.nextInt(2) != 0) {
        text += pair("c", pick(VALUES));
      }
      if (random.nextInt(4) == 0) {
        text += pair("TAGS", pick(VALUES));
      }
      properties.add(text + pair("_d$1", "5"));
    }
    properties.add(pair("a", "1") + pair("b", "2") + pair("a", "5"));
    properties.add(pair("a", "5") + pair("a", ""));
    properties.add("a" + PAIR + NEXT + PAIR + "5" + NEXT + "b" + NEXT + "c" + PAIR + "7");
    properties.add("a" + PAIR + "5" + PAIR + "6" + NEXT + NEXT + "b" + PAIR + "5");
    properties.add(pair("A", "5") + pair("aa", "5") + pair("a ", "5"));
  }

  private String operand() {
    switch (random.nextInt(10)) {
      case 0:
        return "-" + operand();
      case 1:
        return "(" + operand() + ")";
      case 2:
      case 3:
      case 4:
      case 5:
        return pick(NAMES);
      default:
        return pick(LITERALS);
    }
  }

  private String list() {
    StringBuilder text = new StringBuilder("(");
    int count = 1 + random.nextInt(6);
    for (int i = 0; i < count; i++) {
      text.append(i == 0 ? "" : ", ").append('\'');
      text.append(pick(VALUES).replace("'", "''")).append('\'');
    }
    return text.append(')').toString();
  }

  private String condition() {
    String not = random.nextInt(3) == 0 ? " NOT" : "";
    switch (random.nextInt(12)) {
      case 0:
        return pick(NAMES) + " IS" + not + " NULL";
      case 1:
        return pick(NAMES) + not + " IN " + list();
      case 2:
        return operand() + not + " BETWEEN " + operand() + " AND " + operand();
      case 3:
        return pick(NAMES);
      case 4:
        return operand() + (random.nextBoolean() ? " = " : " <> ") + operand();
      case 5:
        return pick(NAMES) + (random.nextBoolean() ? " = " : " <> ") + pick(LITERALS);
      case 6:
        return pick(LITERALS) + pick(new String[] {" < ", " >= ", " = "}) + pick(NAMES);
      default:
        return pick(NAMES) + pick(new String[] {" > ", " >= ", " < ", " <= ", " = "})
            + (random.nextInt(3) == 0 ? pick(NAMES) : pick(LITERALS));
    }
  }

  private String grow(int depth) {
    if (depth == 0 || random.nextInt(3) == 0) {
      return condition();
    }
    switch (random.nextInt(6)) {
      case 0:
        return "NOT " + grow(depth - 1);
      case 1:
        return "(" + grow(depth - 1) + ")";
      case 2:
      case 3:
        return grow(depth - 1) + " OR " + grow(depth - 1);
      default:
        return grow(depth - 1) + " AND " + grow(depth - 1);
    }
  }

  private String mix() {
    StringBuilder text = new StringBuilder();
    int count = 1 + random.nextInt(8);
    for (int i = 0; i < count; i++) {
      text.append(i == 0 || random.nextInt(6) == 0 ? "" : " ").append(pick(TOKENS));
    }
    return text.toString();
  }

  /** An expression that may be sound, with a token put in, or a character taken out. */
  private String mutate() {
    String text = grow(2);
    int at = random.nextInt(text.length());
    return random.nextBoolean()
        ? text.substring(0, at) + pick(TOKENS) + text.substring(at)
        : text.substring(0, at) + text.substring(at + 1);
  }

  private void makeExpressions() {
    for (String text : BY_HAND) {
      expressions.add(text);
    }
    for (int i = 0; i < GROWN; i++) {
      expressions.add(grow(random.nextInt(5)));
    }
    for (int i = 0; i < MIXED; i++) {
      expressions.add(mix());
    }
    for (int i = 0; i < MUTATED; i++) {
      expressions.add(mutate());
    }
  }

  private static EvaluationContext context(Map<String, String> map) {
    return new EvaluationContext() {
      @Override
      public Object get(String name) {
        return map.get(name);
      }

      @Override
      public Map<String, Object> keyValues() {
        return null;
      }
    };
  }

  private static char evaluate(Expression compiled, String properties) {
    try {
      Object result = compiled.evaluate(context(MessageDecoder.string2messageProperties(properties)));
      if (result == null) {
        return 'N';
      }
      return Boolean.TRUE.equals(result) ? 'T' : Boolean.FALSE.equals(result) ? 'F' : '?';
    } catch (Throwable failure) {
      return 'E';
    }
  }

  private String results(String expression) {
    Expression compiled;
    try {
      compiled = SelectorParser.parse(expression);
    } catch (Throwable failure) {
      return "X";
    }
    StringBuilder letters = new StringBuilder();
    for (String text : properties) {
      letters.append(evaluate(compiled, text));
    }
    return letters.toString();
  }

  private static String escape(String text) {
    StringBuilder out = new StringBuilder();
    for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
      if (b >= ' ' && b < 127 && b != '\\') {
        out.append((char) b);
      } else {
        out.append(String.format("\\x%02X", b & 0xFF));
      }
    }
    return out.toString();
  }

  private void write(PrintStream out) {
    makeProperties();
    makeExpressions();
    out.print("kind\ttext\tresults\n");
    for (String text : properties) {
      out.print("P\t" + escape(text) + "\n");
    }
    for (String text : expressions) {
      out.print("E\t" + escape(text) + "\t" + results(text) + "\n");
    }
    out.flush();
  }

  public static void main(String[] arguments) throws Exception {
    new FilterTable().write(new PrintStream(System.out, false, "UTF-8"));
  }
}
