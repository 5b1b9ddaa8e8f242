// Linked into every test program: what ThreadSanitizer takes for a race because
// it does not see into the libraries, which are built without it.

// The last owner of an absl::Status deletes it. Others gave it up within
// Abseil, by a counter.
extern "C" const char* __tsan_default_suppressions() {
  return "race:^absl::*Status::Unref\n";
}
