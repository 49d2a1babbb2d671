#include "subscriber/archive/store/s3_xml.h"

#include <charconv>
#include <optional>
#include <sstream>

#include <fmt/format.h>
#include <pugixml.hpp>

namespace runnel::store {
namespace {

constexpr size_t kMessageBytesMax = 300;
constexpr size_t kObjectCountMax = 1000;  // S3 never sends more

Error Bad(std::string_view why) {
  return Error(Errc::kUnavailable, fmt::format("the server's answer is not understood: {}", why));
}

// Safe to print: control characters and what lies beyond the limit go.
std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kMessageBytesMax))
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  return out;
}

// pugixml resolves the five predefined entities and character references only: no external ones, none of a DOCTYPE.
Result<pugi::xml_node> ParseRoot(pugi::xml_document& document, std::string_view body, const char* root) {
  const pugi::xml_parse_result parsed =
      document.load_buffer(body.data(), body.size(), pugi::parse_default, pugi::encoding_utf8);
  if (!parsed) return Bad(fmt::format("it is no XML ({} at byte {})", parsed.description(), parsed.offset));
  const pugi::xml_node node = document.document_element();
  if (std::string_view(node.name()) != root) {
    return Bad(fmt::format("it is <{}>, expected <{}>", Printable(node.name()).substr(0, 40), root));
  }
  return node;
}

std::string Text(const pugi::xml_node& parent, const char* name) { return parent.child(name).text().get(); }

// encoding-type=url: %XX, and '+' for a blank.
std::optional<std::string> UrlDecode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    unsigned value = 0;
    if (i + 2 >= text.size()) return std::nullopt;
    const auto [end, failed] = std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16);
    if (failed != std::errc() || end != text.data() + i + 3) return std::nullopt;
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

Result<ObjectInfo> ParseContents(const pugi::xml_node& contents, bool encoded) {
  ObjectInfo object;
  object.key = Text(contents, "Key");
  if (encoded) {
    std::optional<std::string> key = UrlDecode(object.key);
    if (!key.has_value()) return Bad("a key is badly encoded");
    object.key = *std::move(key);
  }
  if (object.key.empty()) return Bad("an object has no key");
  const std::string size = Text(contents, "Size");
  const auto [end, failed] = std::from_chars(size.data(), size.data() + size.size(), object.size);
  if (failed != std::errc() || end != size.data() + size.size()) return Bad("an object's size is no number");
  const Result<WallTime> modified = ParseRfc3339(Text(contents, "LastModified"));
  if (!modified.ok()) return Bad("an object's time is none");
  object.modified = *modified;
  object.version = Text(contents, "ETag");
  return object;
}

}  // namespace

S3ErrorText ParseS3Error(std::string_view body) {
  pugi::xml_document document;
  const Result<pugi::xml_node> root = ParseRoot(document, body, "Error");
  if (!root.ok()) return {};
  return {.code = Printable(Text(*root, "Code")).substr(0, 80),
          .message = Printable(Text(*root, "Message")),
          .region = Printable(Text(*root, "Region")).substr(0, 40)};
}

Result<ListPage> ParseListAnswer(std::string_view body) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node root, ParseRoot(document, body, "ListBucketResult"));
  const bool encoded = Text(root, "EncodingType") == "url";
  ListPage page;
  for (const pugi::xml_node& contents : root.children("Contents")) {
    if (page.objects.size() == kObjectCountMax) return Bad("it lists more than 1000 objects");
    TRY_ASSIGN(ObjectInfo object, ParseContents(contents, encoded));
    if (!page.objects.empty() && object.key <= page.objects.back().key) return Bad("its keys do not ascend");
    page.objects.push_back(std::move(object));
  }
  const std::string truncated = Text(root, "IsTruncated");
  if (truncated != "true" && truncated != "false") return Bad("IsTruncated is neither true nor false");
  page.more = truncated == "true";
  if (page.more && page.objects.empty()) return Bad("it is cut short and empty");
  return page;
}

Result<std::string> ParseUploadId(std::string_view body) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node root, ParseRoot(document, body, "InitiateMultipartUploadResult"));
  std::string id = Text(root, "UploadId");
  if (id.empty()) return Bad("it has no UploadId");
  return id;
}

Result<std::string> ParseCompleteAnswer(std::string_view body) {
  const S3ErrorText failed = ParseS3Error(body);
  if (!failed.code.empty()) return Error(Errc::kUnavailable, fmt::format("{}: {}", failed.code, failed.message));
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node root, ParseRoot(document, body, "CompleteMultipartUploadResult"));
  std::string etag = Text(root, "ETag");
  if (etag.empty()) return Bad("it has no ETag");
  return etag;
}

std::string RenderComplete(const std::vector<std::string>& etags) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("CompleteMultipartUpload");
  for (size_t i = 0; i < etags.size(); ++i) {
    pugi::xml_node part = root.append_child("Part");
    part.append_child("PartNumber").text().set(static_cast<unsigned>(i + 1));
    part.append_child("ETag").text().set(etags[i].c_str());
  }
  std::ostringstream out;
  document.save(out, "", pugi::format_raw);
  return out.str();
}

}  // namespace runnel::store
