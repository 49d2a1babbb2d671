import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.debezium.serde.DebeziumSerdes;
import io.debezium.transforms.ExtractNewRecordState;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Map;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.sink.SinkRecord;

/**
 * Debezium's own consumers over events of ours: one event a line in, "topic TAB key TAB value", one object a line out.
 *
 * unwrap: Kafka Connect's JSON converter with schemas, then the transformation that sinks put before them:
 *         {"topic":"...","key":{...}|null,"row":{...}|null}. Integers are numbers, doubles texts of their bits, bytes
 *         texts of their digits; a row that was deleted has "__deleted":"true".
 * serde:  the serde of stream processors, without schemas: {"before":...,"after":...}.
 */
public class Consume {
  private static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] args) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    Consumer consumer = args[0].equals("unwrap") ? new Unwrap() : new Serde();
    StringBuilder out = new StringBuilder();
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] parts = line.split("\t", 3);
      out.append(JSON.writeValueAsString(consumer.take(parts[0], bytes(parts[1]), bytes(parts[2])))).append('\n');
    }
    System.out.write(out.toString().getBytes(StandardCharsets.UTF_8));
    System.out.flush();
  }

  private static byte[] bytes(String text) {
    return text.isEmpty() ? null : text.getBytes(StandardCharsets.UTF_8);
  }

  private interface Consumer {
    JsonNode take(String topic, byte[] key, byte[] value) throws Exception;
  }

  private static final class Unwrap implements Consumer {
    private final JsonConverter keys = new JsonConverter();
    private final JsonConverter values = new JsonConverter();
    private final ExtractNewRecordState<SinkRecord> unwrap = new ExtractNewRecordState<>();

    Unwrap() {
      keys.configure(Map.of("schemas.enable", true), true);
      values.configure(Map.of("schemas.enable", true), false);
      unwrap.configure(Map.of("delete.tombstone.handling.mode", "rewrite", "add.fields", "op,source.txid"));
    }

    @Override
    public JsonNode take(String topic, byte[] key, byte[] value) {
      SchemaAndValue k = keys.toConnectData(topic, key);
      SchemaAndValue v = values.toConnectData(topic, value);
      SinkRecord record = new SinkRecord(topic, 0, k.schema(), k.value(), v.schema(), v.value(), 0);
      SinkRecord row = unwrap.apply(record);
      ObjectNode out = JSON.createObjectNode();
      out.put("topic", row.topic());
      out.set("key", tree(row.key()));
      out.set("row", tree(row.value()));
      return out;
    }

    private static JsonNode tree(Object value) {
      if (value == null) return JSON.nullNode();
      if (value instanceof Long number) return JSON.getNodeFactory().numberNode(number);
      if (value instanceof Double number) {
        return JSON.getNodeFactory().textNode(String.format("%016x", Double.doubleToRawLongBits(number)));
      }
      if (value instanceof byte[] bytes) return JSON.getNodeFactory().textNode(HexFormat.of().formatHex(bytes));
      if (value instanceof ByteBuffer buffer) return tree(buffer.array());
      if (value instanceof Struct struct) {
        ObjectNode node = JSON.createObjectNode();
        for (Field field : struct.schema().fields()) node.set(field.name(), tree(struct.get(field)));
        return node;
      }
      return JSON.getNodeFactory().textNode(value.toString());
    }
  }

  private static final class Serde implements Consumer {
    private final Deserializer<JsonNode> before = deserializer("before");
    private final Deserializer<JsonNode> after = deserializer("after");

    private static Deserializer<JsonNode> deserializer(String field) {
      org.apache.kafka.common.serialization.Serde<JsonNode> serde = DebeziumSerdes.payloadJson(JsonNode.class);
      serde.configure(Map.of("from.field", field), false);
      return serde.deserializer();
    }

    @Override
    public JsonNode take(String topic, byte[] key, byte[] value) {
      ObjectNode out = JSON.createObjectNode();
      out.set("before", before.deserialize(topic, value));
      out.set("after", after.deserialize(topic, value));
      return out;
    }
  }
}
