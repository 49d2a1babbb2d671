// Owners of nats.c objects. Each C object has exactly one of these; the C library counts what it shares inside.
#pragma once

#include <nats/nats.h>

#include <memory>

namespace runnel::bus::nats {

template <typename T, void (*kDestroy)(T*)>
struct Destroy {
  void operator()(T* object) const { kDestroy(object); }
};

using OptionsHandle = std::unique_ptr<natsOptions, Destroy<natsOptions, natsOptions_Destroy>>;
using ConnectionHandle = std::unique_ptr<natsConnection, Destroy<natsConnection, natsConnection_Destroy>>;
using SubscriptionHandle = std::unique_ptr<natsSubscription, Destroy<natsSubscription, natsSubscription_Destroy>>;
using MessageHandle = std::unique_ptr<natsMsg, Destroy<natsMsg, natsMsg_Destroy>>;
using InboxHandle = std::unique_ptr<natsInbox, Destroy<natsInbox, natsInbox_Destroy>>;

}  // namespace runnel::bus::nats
