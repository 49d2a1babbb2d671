// How a thread of ours behaves towards the application when both want the same core.
#pragma once

namespace runnel::publisher {

// On: this thread runs when a core is free or when somebody's turn is over, and no longer interrupts whoever runs when
// it wakes up (SCHED_BATCH of sched(7)); its share of the processor stays the same. Beside a writer that commits
// without a pause this is worth 15 to 20 % of the writer's rate on two cores. Off: as any thread.
// A thread that was given another policy than these two keeps it. THREAD: changes the calling thread, and is inherited
// by threads and processes that it starts from now on.
void YieldToOthers(bool on);

}  // namespace runnel::publisher
