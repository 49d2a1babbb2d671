// Owners of librdkafka objects. Each C object has exactly one of these.
#pragma once

#include <librdkafka/rdkafka.h>

#include <memory>

namespace runnel::bus::kafka {

template <typename T, void (*kDestroy)(T*)>
struct Destroy {
  void operator()(T* object) const { kDestroy(object); }
};

using ConfHandle = std::unique_ptr<rd_kafka_conf_t, Destroy<rd_kafka_conf_t, rd_kafka_conf_destroy>>;
// Destroying a client ends its threads; what it has queued is dropped, what is on its way may still arrive.
using ClientHandle = std::unique_ptr<rd_kafka_t, Destroy<rd_kafka_t, rd_kafka_destroy>>;
using TopicHandle = std::unique_ptr<rd_kafka_topic_t, Destroy<rd_kafka_topic_t, rd_kafka_topic_destroy>>;
using QueueHandle = std::unique_ptr<rd_kafka_queue_t, Destroy<rd_kafka_queue_t, rd_kafka_queue_destroy>>;
using EventHandle = std::unique_ptr<rd_kafka_event_t, Destroy<rd_kafka_event_t, rd_kafka_event_destroy>>;
using MessageHandle = std::unique_ptr<rd_kafka_message_t, Destroy<rd_kafka_message_t, rd_kafka_message_destroy>>;
using HeadersHandle = std::unique_ptr<rd_kafka_headers_t, Destroy<rd_kafka_headers_t, rd_kafka_headers_destroy>>;
using ErrorHandle = std::unique_ptr<rd_kafka_error_t, Destroy<rd_kafka_error_t, rd_kafka_error_destroy>>;
using PartitionsHandle =
    std::unique_ptr<rd_kafka_topic_partition_list_t,
                    Destroy<rd_kafka_topic_partition_list_t, rd_kafka_topic_partition_list_destroy>>;
using AdminOptionsHandle =
    std::unique_ptr<rd_kafka_AdminOptions_t, Destroy<rd_kafka_AdminOptions_t, rd_kafka_AdminOptions_destroy>>;
using NewTopicHandle = std::unique_ptr<rd_kafka_NewTopic_t, Destroy<rd_kafka_NewTopic_t, rd_kafka_NewTopic_destroy>>;
using DeleteRecordsHandle =
    std::unique_ptr<rd_kafka_DeleteRecords_t, Destroy<rd_kafka_DeleteRecords_t, rd_kafka_DeleteRecords_destroy>>;
using ConfigResourceHandle =
    std::unique_ptr<rd_kafka_ConfigResource_t, Destroy<rd_kafka_ConfigResource_t, rd_kafka_ConfigResource_destroy>>;

struct DestroyMetadata {
  void operator()(const struct rd_kafka_metadata* metadata) const { rd_kafka_metadata_destroy(metadata); }
};
using MetadataHandle = std::unique_ptr<const struct rd_kafka_metadata, DestroyMetadata>;

}  // namespace runnel::bus::kafka
