#include "subscriber/archive/store/s3_credentials.h"

#include <fstream>

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace runnel::store {
namespace {

constexpr const char* kFile =
    "# comment\n[default]\naws_access_key_id = DEFAULTID\r\naws_secret_access_key=default/secret+==\n\n"
    "[ backup ]\naws_access_key_id=BACKUPID\naws_secret_access_key=s2\naws_session_token = "
    "tok\n[half]\naws_access_key_id=H\n";

TEST(S3Credentials, AreReadFromTheSectionOfTheProfile) {
  const Result<S3Credentials> standard = ParseCredentialsFile(kFile, "default");
  ASSERT_TRUE(standard.ok());
  EXPECT_EQ(standard->access_key_id, "DEFAULTID");
  EXPECT_EQ(standard->secret_access_key, "default/secret+==");
  EXPECT_EQ(standard->session_token, "");
  const Result<S3Credentials> backup = ParseCredentialsFile(kFile, "backup");
  ASSERT_TRUE(backup.ok());
  EXPECT_EQ(backup->access_key_id, "BACKUPID");
  EXPECT_EQ(backup->session_token, "tok");
  EXPECT_EQ(ParseCredentialsFile(kFile, "other").code(), Errc::kNotFound);
  EXPECT_EQ(ParseCredentialsFile(kFile, "half").code(), Errc::kInvalid);
}

TEST(S3Credentials, ComeFromOptionsThenEnvironmentThenFile) {
  const testing::TempDir dir;
  const std::string path = dir / "credentials";
  std::ofstream(path) << kFile;
  S3Environment environment;
  environment.credentials_file = path;
  EXPECT_EQ(FindS3Credentials({}, environment)->access_key_id, "DEFAULTID");
  environment.profile = "backup";
  EXPECT_EQ(FindS3Credentials({}, environment)->access_key_id, "BACKUPID");
  environment.access_key_id = "ENVID";
  environment.secret_access_key = "envsecret";
  EXPECT_EQ(FindS3Credentials({}, environment)->access_key_id, "ENVID");
  EXPECT_EQ(FindS3Credentials({"OPTID", "optsecret", ""}, environment)->access_key_id, "OPTID");
}

TEST(S3Credentials, SayWhereTheyWereSoughtAndNeverWhatTheyAre) {
  const testing::TempDir dir;
  S3Environment environment;
  environment.credentials_file = dir / "absent";
  environment.secret_access_key = "hush-hush";
  const Result<S3Credentials> found = FindS3Credentials({}, environment);
  ASSERT_EQ(found.code(), Errc::kInvalid);
  EXPECT_NE(found.error().message().find("AWS_ACCESS_KEY_ID"), std::string::npos);
  EXPECT_NE(found.error().message().find(environment.credentials_file), std::string::npos);
  EXPECT_EQ(found.error().message().find("hush"), std::string::npos);
  EXPECT_EQ(FindS3Credentials({"OPTID", "", ""}, environment).code(), Errc::kInvalid)
      << "half a configuration is a mistake";
}

}  // namespace
}  // namespace runnel::store
