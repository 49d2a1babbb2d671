// The URL of an object store, checked:
//
//   file:///absolute/dir
//   s3://bucket[/prefix][?endpoint=http://127.0.0.1:9000&region=eu-central-1&path-style=true]
//   nats://[user[:password]@]host[:port][,host...]/BUCKET[/prefix]        tls://... the same, encrypted
//
// Directory, prefix, user, password and query values are percent-decoded. S3 keys never stand in a URL.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bus/url.h"
#include "ltx/base/result.h"

namespace runnel::store {

struct Url {
  std::string scheme;                        // file, s3, nats, tls
  std::string directory;                     // file: absolute, no slash at its end
  std::string bucket;                        // s3, nats
  std::string prefix;                        // s3, nats: no slash at either end; may be empty
  std::vector<bus::HostPort> hosts;          // nats
  std::string user;                          // nats; secret together with the password
  std::string password;                      // secret: never logged
  std::map<std::string, std::string> query;  // s3: endpoint, region, path-style
};

// Errors: kInvalid, naming the part that is wrong; kUnsupported for gs://, abs:// and other known schemes we do not
// have. The message never repeats user or password.
Result<Url> ParseUrl(std::string_view text);

// The URL without user, password and query, but with what leads to an s3 endpoint, which is not secret: others can open
// the same store by it, with credentials of their own. Takes any text.
std::string RedactUrl(std::string_view url);

}  // namespace runnel::store
