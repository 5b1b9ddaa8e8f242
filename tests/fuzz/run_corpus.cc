// Runs the inputs of a corpus through a fuzz target, with any compiler:
//   unix_address_corpus DIR
// What libFuzzer's own main() does with files, and no more.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>

#include "rpc/base/file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size);

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIR\n", argv[0]);
    return 2;
  }
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    const auto input = tandem::rpc::ReadFile(entry.path());
    if (!input.ok()) {
      std::fprintf(stderr, "%s\n", input.status().ToString().c_str());
      return 1;
    }
    // Last on the screen when it fails.
    std::printf("%s\n", entry.path().c_str());
    std::fflush(stdout);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input->data()),
                           input->size());
    ++count;
  }
  std::printf("%d inputs\n", count);
  return count > 0 ? 0 : 1;
}
