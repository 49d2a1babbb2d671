#include "subscriber/archive/store/s3_xml.h"

#include <string>

#include <gtest/gtest.h>

namespace runnel::store {
namespace {

std::string ListOf(const std::string& inner, const std::string& truncated = "false") {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
         "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
         "<Name>b</Name><IsTruncated>" +
         truncated + "</IsTruncated>" + inner + "</ListBucketResult>";
}

std::string Contents(const std::string& key, const std::string& size = "5") {
  return "<Contents><Key>" + key +
         "</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&#34;abc&#34;</ETag><Size>" + size +
         "</Size></Contents>";
}

TEST(S3Xml, ReadsAListing) {
  const Result<ListPage> page =
      ParseListAnswer(ListOf(Contents("a/1") + Contents("a/2", "18446744073709551615"), "true"));
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_EQ(page->objects[0].key, "a/1");
  EXPECT_EQ(page->objects[0].version, "\"abc\"");
  EXPECT_EQ(FormatTimestamp(page->objects[0].modified), "2026-01-02T03:04:05.678Z");
  EXPECT_FALSE(page->objects[0].timestamp.has_value());
  EXPECT_EQ(page->objects[1].size, UINT64_MAX);
  EXPECT_TRUE(page->more);
}

TEST(S3Xml, DecodesKeysOnlyWhenTheServerSaysTheyAreEncoded) {
  const std::string encoded = "<EncodingType>url</EncodingType>" + Contents("a+b%2Bc%25/%C3%A4");
  EXPECT_EQ(ParseListAnswer(ListOf(encoded))->objects[0].key, "a b+c%/\xc3\xa4");
  EXPECT_EQ(ParseListAnswer(ListOf(Contents("a+b%2B &amp;")))->objects[0].key, "a+b%2B &");
  EXPECT_FALSE(ParseListAnswer(ListOf("<EncodingType>url</EncodingType>" + Contents("a%2"))).ok());
  EXPECT_FALSE(ParseListAnswer(ListOf("<EncodingType>url</EncodingType>" + Contents("a%zz"))).ok());
}

TEST(S3Xml, RefusesListingsThatMakeNoSense) {
  EXPECT_FALSE(ParseListAnswer("").ok());
  EXPECT_FALSE(ParseListAnswer("<html>captive portal</html>").ok());
  EXPECT_FALSE(ParseListAnswer(ListOf(Contents(""))).ok());
  EXPECT_FALSE(ParseListAnswer(ListOf(Contents("a", "-1"))).ok());
  EXPECT_FALSE(ParseListAnswer(ListOf(Contents("a", "5x"))).ok());
  EXPECT_FALSE(ParseListAnswer(ListOf(Contents("a", "18446744073709551616"))).ok());
  EXPECT_FALSE(ParseListAnswer(ListOf(Contents("b") + Contents("a"))).ok())
      << "a page that does not ascend would lose objects";
  EXPECT_FALSE(ParseListAnswer(ListOf(Contents("a"), "maybe")).ok());
  EXPECT_FALSE(ParseListAnswer(ListOf("", "true")).ok()) << "would be asked for again without end";
}

TEST(S3Xml, StaysBoundedWithHostileDocuments) {
  std::string many;
  for (int i = 0; i < 1001; ++i) many += Contents(std::to_string(100000 + i));
  EXPECT_FALSE(ParseListAnswer(ListOf(many)).ok());

  std::string deep = "<ListBucketResult>";
  for (int i = 0; i < 500000; ++i) deep += "<a>";
  EXPECT_FALSE(ParseListAnswer(deep).ok());
  for (int i = 0; i < 500000; ++i) deep += "</a>";
  EXPECT_FALSE(ParseListAnswer(deep + "</ListBucketResult>").ok());

  const std::string laughs =
      "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\"><!ENTITY c SYSTEM \"file:///etc/passwd\">]>" +
      std::string("<ListBucketResult><IsTruncated>false</IsTruncated>") + Contents("&b;&c;") + "</ListBucketResult>";
  const Result<ListPage> page = ParseListAnswer(laughs);
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->objects[0].key, "&b;&c;") << "entities of the document are not resolved";
}

TEST(S3Xml, SurvivesEveryTruncation) {
  const std::string whole = ListOf(Contents("a/1") + Contents("a/2"));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ParseListAnswer(std::string_view(whole).substr(0, size)).ok()) << size;
  }
}

TEST(S3Xml, SurvivesEveryFlippedBit) {
  const std::string whole = ListOf(Contents("a/1") + Contents("a/2"));
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    const Result<ListPage> page = ParseListAnswer(damaged);
    if (page.ok()) {
      EXPECT_LE(page->objects.size(), 2u);
    }
  }
}

TEST(S3Xml, ReadsErrorsAndKeepsTheirTextPrintable) {
  const S3ErrorText error = ParseS3Error(
      "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'a'\n\x1b[31mis "
      "wrong</Message><Region>eu-west-1</Region></Error>");
  EXPECT_EQ(error.code, "AuthorizationHeaderMalformed");
  EXPECT_EQ(error.message, "the region 'a'  [31mis wrong");
  EXPECT_EQ(error.region, "eu-west-1");
  EXPECT_EQ(ParseS3Error("<html/>").code, "");
  EXPECT_EQ(ParseS3Error("").code, "");
  EXPECT_EQ(ParseS3Error("<Error><Message>" + std::string(5000, 'x') + "</Message></Error>").message.size(), 300u);
}

TEST(S3Xml, FindsTheErrorInsideOfACompletedUpload) {
  const Result<std::string> failed =
      ParseCompleteAnswer("<Error><Code>InternalError</Code><Message>try again</Message></Error>");
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().message(), "InternalError: try again");
  EXPECT_EQ(*ParseCompleteAnswer("<CompleteMultipartUploadResult><ETag>\"x-2\"</ETag></CompleteMultipartUploadResult>"),
            "\"x-2\"");
  EXPECT_FALSE(ParseCompleteAnswer("<CompleteMultipartUploadResult/>").ok());
  EXPECT_FALSE(ParseUploadId("<InitiateMultipartUploadResult/>").ok());
  EXPECT_EQ(*ParseUploadId("<InitiateMultipartUploadResult><UploadId>u~1</UploadId></InitiateMultipartUploadResult>"),
            "u~1");
}

TEST(S3Xml, EscapesTheEtagsOfACompleteRequest) {
  EXPECT_EQ(RenderComplete({"\"a\"", "<b>"}),
            "<?xml version=\"1.0\"?><CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>"
            "<Part><PartNumber>2</PartNumber><ETag>&lt;b&gt;</ETag></Part></CompleteMultipartUpload>");
}

}  // namespace
}  // namespace runnel::store
