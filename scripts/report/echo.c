// The floor under a request on a Unix socket: answers whatever one read returns
// with 1.5 KB, about the size of a token.
//
//   echo SOCKET        connections are kept, each has a thread that blocks in read
//   echo SOCKET each   one answer a connection, one after the other, no thread
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char answer[1536];

static void *serve(void *arg) {
  int fd = (int)(long)arg;
  char question[4096];
  while (read(fd, question, sizeof question) > 0)
    if (write(fd, answer, sizeof answer) != sizeof answer) break;
  close(fd);
  return 0;
}

static void serve_once(int fd) {
  char question[4096];
  if (read(fd, question, sizeof question) > 0 && write(fd, answer, sizeof answer) < 0) perror("write");
  close(fd);
}

int main(int argc, char **argv) {
  if (argc < 2) return 64;
  memset(answer, 'x', sizeof answer);
  struct sockaddr_un addr = {.sun_family = AF_UNIX};
  strncpy(addr.sun_path, argv[1], sizeof addr.sun_path - 1);
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(listener, (struct sockaddr *)&addr, sizeof addr) || listen(listener, 1024)) {
    perror(argv[1]);
    return 1;
  }
  pthread_attr_t detached;
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  for (;;) {
    int fd = accept(listener, 0, 0);
    if (fd < 0) continue;
    pthread_t thread;
    if (argc > 2)
      serve_once(fd);
    else if (pthread_create(&thread, &detached, serve, (void *)(long)fd))
      close(fd);
  }
}
