// Package ipc defines the words of the daemon's socket: the types on the wire,
// the problems that it answers with, and the defaults that both ends share. The
// states, codes and actions of the whole program are declared here, once.
//
// It uses the standard library alone, so that a player that imports it or
// [github.com/tvpassd/tvpassd/ipc/client] pulls in no other module. Package
// ipc/server is the daemon's end of the socket, package ipc/client the
// players'.
package ipc
