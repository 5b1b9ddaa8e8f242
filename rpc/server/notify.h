// Tells the service manager (systemd) how the program is doing.

#ifndef TANDEM_RPC_SERVER_NOTIFY_H_
#define TANDEM_RPC_SERVER_NOTIFY_H_

#include <string_view>

namespace tandem::rpc {

// These send to the socket that NOTIFY_SOCKET names, as sd_notify(3) does, for
// units with Type=notify. Without the variable they do nothing. What fails is
// logged and changes nothing: a program runs as well without its manager. The
// manager has a second to take a message.
//
// `status` is one line for people, which "systemctl status" shows.
//
// Thread safety: thread-safe, while nobody changes the environment.

// The program serves from now on.
void NotifyReady(std::string_view status);
// Something else is to be said about it.
void NotifyStatus(std::string_view status);
// The program has begun to stop.
void NotifyStopping();

}  // namespace tandem::rpc

#endif  // TANDEM_RPC_SERVER_NOTIFY_H_
