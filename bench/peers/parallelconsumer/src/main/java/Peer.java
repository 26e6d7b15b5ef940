import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.vertx.VertxParallelEoSStreamProcessor;
import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.buffer.Buffer;
import io.vertx.ext.web.client.WebClient;
import io.vertx.ext.web.client.WebClientOptions;
import java.io.File;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Confluent's Parallel Consumer, in the order of keys, with its Vert.x client, as the benchmark's peer. */
public final class Peer {
  private static final ObjectMapper json = new ObjectMapper();
  private static final Map<Integer, GenericDatumReader<GenericRecord>> readers = new ConcurrentHashMap<>();
  private static String registry;

  public static void main(String[] args) throws Exception {
    JsonNode work = json.readTree(new File(args[0]));
    registry = work.get("registry").asText();
    int concurrency = work.get("concurrency").asInt();
    List<String> urls = new ArrayList<>();
    work.get("urls").forEach(u -> urls.add(u.asText()));

    Properties p = new Properties();
    p.put("bootstrap.servers", work.get("kafka").asText());
    p.put("group.id", work.get("group").asText());
    p.put("enable.auto.commit", "false");
    p.put("auto.offset.reset", "earliest");
    p.put("max.poll.records", "5000");
    // A key is compared, not read: the bytes themselves would be compared by identity.
    p.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
    p.put("value.deserializer", ByteArrayDeserializer.class.getName());
    KafkaConsumer<String, byte[]> consumer = new KafkaConsumer<>(p);

    Vertx vertx = Vertx.vertx(new VertxOptions().setEventLoopPoolSize(2));
    WebClient web = WebClient.create(vertx, new WebClientOptions().setMaxPoolSize(concurrency).setKeepAlive(true));
    var processor = new VertxParallelEoSStreamProcessor<String, byte[]>(vertx, web,
        ParallelConsumerOptions.<String, byte[]>builder()
            .ordering(ParallelConsumerOptions.ProcessingOrder.KEY)
            .commitMode(ParallelConsumerOptions.CommitMode.PERIODIC_CONSUMER_ASYNCHRONOUS)
            .commitInterval(Duration.ofSeconds(1))
            .defaultMessageRetryDelay(Duration.ofMillis(100))
            .maxConcurrency(concurrency)
            .consumer(consumer)
            .build());
    processor.subscribe(List.of(work.get("topic").asText()));
    processor.vertxFuture(context -> {
      Buffer body = Buffer.buffer(document(context.value()));
      List<Future<Void>> posts = new ArrayList<>();
      for (String url : urls) {
        posts.add(web.postAbs(url).putHeader("Content-Type", "application/json").sendBuffer(body).compose(r ->
            r.statusCode() < 300 ? Future.succeededFuture() : Future.failedFuture("status " + r.statusCode())));
      }
      return Future.all(posts);
    });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> Runtime.getRuntime().halt(0)));
  }

  /** A value in Confluent's frame, a zero byte and the schema's id, as the document that the targets get. */
  private static byte[] document(byte[] value) {
    try {
      GenericRecord event = readers.computeIfAbsent(ByteBuffer.wrap(value, 1, 4).getInt(), Peer::reader)
          .read(null, DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null));
      GenericRecord payload = (GenericRecord) event.get("payload");
      GenericRecord rule = (GenericRecord) ((List<?>) payload.get("rules")).get(0);
      return json.writeValueAsBytes(json.createObjectNode()
          .put("eventId", event.get("eventId").toString())
          .put("policyId", payload.get("policyId").toString())
          .put("version", ((Number) event.get("version")).longValue())
          .put("title", payload.get("name").toString())
          .put("text", rule.get("text").toString()));
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }

  private static GenericDatumReader<GenericRecord> reader(int id) {
    try {
      String text = HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(registry + "/schemas/ids/" + id)).build(),
          HttpResponse.BodyHandlers.ofString()).body();
      return new GenericDatumReader<>(new Schema.Parser().parse(json.readTree(text).get("schema").asText()));
    } catch (Exception e) {
      throw new IllegalStateException(e);
    }
  }
}
