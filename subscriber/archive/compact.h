// Makes what a plan asks for: reads the inputs as streams, writes the output as a stream, verifies everything on the
// way. Memory is bounded by the plan's InputsMax, whatever the database's size.
#pragma once

#include <functional>
#include <stop_token>

#include "ltx/base/result.h"
#include "subscriber/archive/layout.h"
#include "subscriber/archive/manifest.h"
#include "subscriber/archive/plan.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::archive {

// Bytes of the inputs read so far. Called often.
using OnBytes = std::function<void(uint64_t bytes)>;

// DURABLE: the object that is returned, without a name in the manifest yet. Never replaces an object.
// Errors: kCorrupt when an input is damaged, or a snapshot is not the image its position names (the message says
// which); kConflict when an object lies there already; kCancelled; the store's. Nothing is left behind after an error.
Result<ArchivedObject> RunJob(store::ObjectStore& store, const Layout& layout, const Manifest& manifest, const Job& job,
                              const OnBytes& on_bytes, std::stop_token stop);

}  // namespace runnel::archive
