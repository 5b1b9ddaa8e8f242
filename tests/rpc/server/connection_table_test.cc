#include "rpc/server/connection_table.h"

#include <memory>

#include "gtest/gtest.h"

namespace tandem::rpc {
namespace {

std::shared_ptr<ServerConnection> ConnectionOf(uid_t uid) {
  return std::make_shared<ServerConnection>(
      Caller{.uid = uid, .connection_id = uid});
}

TEST(ConnectionTableTest, FindsTheConnectionBehindADescriptor) {
  ConnectionTable table;
  const auto one = ConnectionOf(70);
  const auto other = ConnectionOf(3000);
  table.Set(7, one);
  table.Set(300, other);
  EXPECT_EQ(table.Find("fd:7"), one);
  EXPECT_EQ(table.Find("fd:300"), other);
}

TEST(ConnectionTableTest, ANewConnectionTakesThePlaceOfAnEndedOne) {
  ConnectionTable table;
  table.Set(7, ConnectionOf(70));
  const auto next = ConnectionOf(71);
  table.Set(7, next);
  EXPECT_EQ(table.Find("fd:7"), next);
}

TEST(ConnectionTableTest, WhatItWasNotToldIsNobody) {
  ConnectionTable table;
  table.Set(7, ConnectionOf(70));
  // 71 shares the lock of 7.
  for (const char* peer : {"fd:6", "fd:8", "fd:71", "fd:70000", "fd:-7", "fd:",
                           "fd: 7", "fd:7x", "fd:+7", "unix:", "unix:fd:7",
                           "unknown", "", "7", "fd:99999999999999999999999"}) {
    EXPECT_EQ(table.Find(peer), nullptr) << peer;
  }
}

TEST(ConnectionTableTest, OpenOnesAreListedOldestFirst) {
  ConnectionTable table;
  const auto ended = ConnectionOf(1);
  const auto first = ConnectionOf(2);
  const auto second = ConnectionOf(3);
  table.Set(8, second);
  table.Set(70, first);
  table.Set(9, ended);
  ended->MarkEnded();
  const std::vector<std::shared_ptr<ServerConnection>> open = {first, second};
  EXPECT_EQ(table.Open(), open);
}

}  // namespace
}  // namespace tandem::rpc
