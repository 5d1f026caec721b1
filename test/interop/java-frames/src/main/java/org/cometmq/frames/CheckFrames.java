/* SPDX-License-Identifier: Apache-2.0
 *
 * Decodes re-encoded frames with RocketMQ's RemotingCommand and compares them with the golden table
 * they came from.
 *
 * Arguments: the golden table (test/data/frames.tsv) and the output of reencode: lines of
 * "row number, codec, frame in hexadecimal digits", parted by tabs.
 */
package org.cometmq.frames;

import com.alibaba.fastjson.JSON;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

public final class CheckFrames {
    private final List<String> columns;
    private final List<String[]> rows = new ArrayList<>();

    private CheckFrames(String goldenPath) throws IOException {
        List<String> lines = Files.readAllLines(Paths.get(goldenPath), StandardCharsets.UTF_8);
        columns = Arrays.asList(lines.get(0).split("\t"));
        for (String line : lines.subList(1, lines.size())) {
            rows.add(line.split("\t", -1));
        }
    }

    private String cell(String[] row, String column) {
        return row[columns.indexOf(column)];
    }

    private static byte[] fromHex(String digits) {
        byte[] bytes = new byte[digits.length() / 2];
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) Integer.parseInt(digits.substring(2 * i, 2 * i + 2), 16);
        }
        return bytes;
    }

    private static void expect(String what, Object expected, Object actual) {
        if (!Objects.equals(expected, actual)) {
            throw new IllegalStateException(what + ": expected " + expected + ", got " + actual);
        }
    }

    /* Throws when the frame does not say what the row says. */
    private void check(String[] row, String codec, byte[] frame) {
        ByteBuffer buffer = ByteBuffer.wrap(frame);
        expect("length", frame.length - 4, buffer.getInt());
        RemotingCommand command = RemotingCommand.decode(buffer.slice());
        boolean binary = codec.equals("ROCKETMQ");

        expect("serialize type", codec, command.getSerializeTypeCurrentRPC().name());
        expect("code", Integer.parseInt(cell(row, "code")), command.getCode());
        expect("language", cell(row, "language"), String.valueOf(command.getLanguage()));
        expect("version", Integer.parseInt(cell(row, "version")), command.getVersion());
        expect("opaque", Integer.parseInt(cell(row, "opaque")), command.getOpaque());
        expect("flag", Integer.parseInt(cell(row, "flag")), command.getFlag());

        String remark = (String) JSON.parse(cell(row, "remark"));
        if (binary && remark != null && remark.isEmpty()) {
            remark = null;
        }
        expect("remark", remark, command.getRemark());

        Map<String, String> fields = null;
        Map<?, ?> written = JSON.parseObject(cell(row, "extFields"));
        if (written != null && !(binary && written.isEmpty())) {
            fields = new HashMap<>();
            for (Map.Entry<?, ?> entry : written.entrySet()) {
                fields.put((String) entry.getKey(), (String) entry.getValue());
            }
        }
        expect("extFields", fields, command.getExtFields());

        byte[] body = fromHex(cell(row, "body_hex"));
        byte[] actual = command.getBody() == null ? new byte[0] : command.getBody();
        if (!Arrays.equals(body, actual)) {
            throw new IllegalStateException("the bodies differ");
        }
    }

    public static void main(String[] args) throws IOException {
        CheckFrames golden = new CheckFrames(args[0]);
        int passed = 0;
        int failed = 0;
        for (String line : Files.readAllLines(Paths.get(args[1]), StandardCharsets.US_ASCII)) {
            String[] parts = line.split("\t");
            String[] row = golden.rows.get(Integer.parseInt(parts[0]));
            try {
                golden.check(row, parts[1], fromHex(parts[2]));
                passed++;
            } catch (RuntimeException e) {
                System.out.println(golden.cell(row, "id") + " as " + parts[1] + ": " + e);
                failed++;
            }
        }
        System.out.println("frames: " + passed + " passed, " + failed + " failed");
        System.exit(failed == 0 && passed > 0 ? 0 : 1);
    }
}
