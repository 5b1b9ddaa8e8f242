#include "rpc/server/connection_table.h"

#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

Caller CallerOf(uid_t uid) { return {.uid = uid, .connection_id = uid + 1}; }

TEST(ConnectionTableTest, FindsTheCallerBehindADescriptor) {
  ConnectionTable table;
  table.Set(7, CallerOf(70));
  table.Set(300, CallerOf(3000));
  ASSERT_TRUE(table.Find("fd:7").has_value());
  EXPECT_EQ(table.Find("fd:7")->uid, 70u);
  EXPECT_EQ(table.Find("fd:300")->uid, 3000u);
}

TEST(ConnectionTableTest, ANewConnectionTakesThePlaceOfAnEndedOne) {
  ConnectionTable table;
  table.Set(7, CallerOf(70));
  table.Set(7, CallerOf(71));
  EXPECT_EQ(table.Find("fd:7")->uid, 71u);
}

TEST(ConnectionTableTest, WhatItWasNotToldIsNobody) {
  ConnectionTable table;
  table.Set(7, CallerOf(70));
  for (const char* peer : {"fd:6", "fd:8", "fd:70000", "fd:-7", "fd:", "fd: 7",
                           "fd:7x", "fd:+7", "unix:", "unix:fd:7", "unknown",
                           "", "7", "fd:99999999999999999999999"}) {
    EXPECT_FALSE(table.Find(peer).has_value()) << peer;
  }
}

}  // namespace
}  // namespace tandem::rpc
