// JSON as the commands print it.

#ifndef TANDEM_NODE_CLI_JSON_H_
#define TANDEM_NODE_CLI_JSON_H_

#include <nlohmann/json.hpp>
#include <string>

namespace tandem::node {

// One line. Bytes of strings that are not UTF-8 become U+FFFD: whoever needs
// all bytes has a field in hexadecimal beside.
inline std::string OneLine(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace tandem::node

#endif  // TANDEM_NODE_CLI_JSON_H_
