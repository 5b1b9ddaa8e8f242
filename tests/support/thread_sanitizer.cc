// Linked into every test program: what ThreadSanitizer takes for a race.

// RocksDB, and the part of Abseil that is in a library (absl::Status counts its
// owners there), are built without ThreadSanitizer, which then does not see how
// they order what threads do.
extern "C" const char* __tsan_default_suppressions() {
  return "race:rocksdb::\n"
         "race:absl::*Unref\n"
         "race:absl::*Status::~Status\n";
}
