// What has come on a stream and was not read yet.

#ifndef TANDEM_RPC_WIRE_FRAMES_INBOX_H_
#define TANDEM_RPC_WIRE_FRAMES_INBOX_H_

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

#include "google/protobuf/message_lite.h"
#include "rpc/base/mutex.h"
#include "rpc/wire/stream.h"

namespace tandem::rpc {

// The messages of one stream in one direction, as bytes, until they are taken.
// One that is waited for is parsed where it lies.
//
// Thread safety: thread-safe. The owner, and callbacks, are called without
// locks held, on the thread that made it due, one after the other: a reader
// that reads on from within its callback does not grow the stack.
class Inbox {
 public:
  // Whose stream it is. It must live while a method runs.
  class Owner {
   public:
    // Fills `into`. False, when the bytes are no such message: there are no
    // more then.
    virtual bool Parse(std::string_view bytes,
                       google::protobuf::MessageLite* into) = 0;
    // Before a reader is told that it has a message: there is room for another.
    virtual void OnTaken() = 0;
    // Before a reader is told that there are no more.
    virtual void OnDrained() = 0;

   protected:
    ~Owner() = default;
  };

  explicit Inbox(Owner& owner) : owner_(owner) {}

  // A message has come. Dropped once there are no more.
  void Push(std::string_view bytes) ABSL_LOCKS_EXCLUDED(mu_);

  // There are no more; what is unread can still be taken.
  void End() ABSL_LOCKS_EXCLUDED(mu_);
  // The same, but drops what is unread.
  void Break() ABSL_LOCKS_EXCLUDED(mu_);

  // As MessageStream::Receive().
  void Receive(google::protobuf::MessageLite* into,
               MessageStream::Received done) ABSL_LOCKS_EXCLUDED(mu_);

  struct Unread {
    std::size_t messages = 0;
    std::size_t bytes = 0;

    // An empty message takes some as well.
    std::size_t memory() const { return bytes + 64 * messages; }
  };
  Unread unread() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  // Tells the reader what there is to tell, beginning with `fresh` if it is not
  // null and nothing else is unread. One thread at a time does so: another may
  // leave its work to it. Unlocks meanwhile.
  void Deliver(const std::string_view* fresh)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Take(std::string_view bytes, google::protobuf::MessageLite* into);

  Owner& owner_;

  mutable Mutex mu_;
  std::deque<std::string> queue_ ABSL_GUARDED_BY(mu_);
  std::size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;  // In queue_.
  bool is_ended_ ABSL_GUARDED_BY(mu_) = false;
  bool is_delivering_ ABSL_GUARDED_BY(mu_) = false;
  google::protobuf::MessageLite* into_ ABSL_GUARDED_BY(mu_) = nullptr;
  MessageStream::Received received_ ABSL_GUARDED_BY(mu_);
};

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_WIRE_FRAMES_INBOX_H_
