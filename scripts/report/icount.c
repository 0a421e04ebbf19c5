// Counts the instructions and system calls of a program under qemu-user, for
// figures that repeat to 1 % whatever else the machine does. What the kernel
// executes is not counted. It is a plugin, which the dynamic qemu-arm loads:
//
//   gcc -shared -fPIC -O2 -DAPI=1 -o libicount.so icount.c
//   qemu-arm -plugin ./libicount.so,out=FILE PROGRAM
//
// FILE holds two 64-bit counters of this machine's byte order, instructions and
// system calls. It is mapped, so it can be read while the program runs. The few
// declarations are those of qemu-plugin.h, which not every package of qemu brings.
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef API
#define API 1 // qemu 7.2; newer ones want a higher number for the same functions
#endif

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_info;
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int flags,
                                                 void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t,
                                                                     uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                                     uint64_t));

__attribute__((visibility("default"))) int qemu_plugin_version = API;
static uint64_t *counters;

static void executed(unsigned vcpu, void *instructions) {
  __atomic_fetch_add(&counters[0], (uint64_t)(uintptr_t)instructions, __ATOMIC_RELAXED);
}

static void translated(plugin_id id, struct qemu_plugin_tb *block) {
  void *instructions = (void *)(uintptr_t)qemu_plugin_tb_n_insns(block);
  qemu_plugin_register_vcpu_tb_exec_cb(block, executed, 0, instructions);
}

static void called(plugin_id id, unsigned vcpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                   uint64_t e,
                   uint64_t f, uint64_t g, uint64_t h) {
  __atomic_fetch_add(&counters[1], 1, __ATOMIC_RELAXED);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc,
                                                               char **argv) {
  if (argc != 1 || strncmp(argv[0], "out=", 4)) return 1;
  int fd = open(argv[0] + 4, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || ftruncate(fd, 4096)) return 1;
  counters = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (counters == MAP_FAILED) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
