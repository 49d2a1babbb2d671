// Configuration files of any content: an error or a tree, never a crash, and never more than the bounds allow.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "ltx/base/config_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using runnel::Config;
  using runnel::ConfigMap;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  runnel::Result<std::unique_ptr<Config>> config = Config::Parse(text, "fuzz.yml", [](const std::string& name) {
    return name.size() % 2 == 0 ? std::optional<std::string>("${x}") : std::nullopt;
  });
  if (!config.ok()) return 0;
  ConfigMap root = (*config)->root();
  root.Text("a");
  root.Integer("b", 1, 0, 9);
  root.Duration("c", std::chrono::milliseconds(1));
  root.Size("d", 1);
  root.Texts("e");
  for (const ConfigMap& map : root.Maps("f")) map.Map("a").RequiredText("b");
  (void)(*config)->Finish();
  return 0;
}
