#include "publisher/yielding.h"

#include <sched.h>

namespace runnel::publisher {

void YieldToOthers(bool on) {
  const int policy = ::sched_getscheduler(0);
  const int wanted = on ? SCHED_BATCH : SCHED_OTHER;
  if (policy == wanted || (policy != SCHED_OTHER && policy != SCHED_BATCH)) return;
  const sched_param none{.sched_priority = 0};
  ::sched_setscheduler(0, wanted, &none);  // needs no privilege; where it is forbidden all stays as it was
}

}  // namespace runnel::publisher
