"""Numbers of the system calls that a command may not make, for each architecture that a node may run on."""

from dataclasses import dataclass
from typing import Final

NEWEST: Final = 462
"""`mseal`, Linux 6.10. The numbers are the same everywhere from 424 on, and what is newer is unknown here: refused."""

REFUSED: Final = (
    # the kernel itself: modules, other kernels, what it writes and how it runs
    *("init_module", "finit_module", "delete_module", "create_module", "query_module", "get_kernel_syms"),
    *("kexec_load", "kexec_file_load", "reboot", "syslog", "_sysctl", "acct", "quotactl", "quotactl_fd"),
    *("swapon", "swapoff", "nfsservctl", "lookup_dcookie", "sysfs", "ustat", "uselib", "vhangup"),
    *("iopl", "ioperm", "modify_ldt", "afs_syscall", "getpmsg", "putpmsg", "security", "tuxcall", "vserver"),
    # clocks and names
    *("settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "sethostname", "setdomainname"),
    # where many holes of the kernel were
    *("bpf", "perf_event_open", "userfaultfd", "fanotify_init"),
    *("add_key", "request_key", "keyctl"),
    # other processes
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease"),
    *("kcmp", "pidfd_getfd"),
    # namespaces and mounts
    *("unshare", "setns", "chroot", "pivot_root", "mount", "umount2", "mount_setattr", "move_mount", "open_tree"),
    *("fsopen", "fsconfig", "fsmount", "fspick"),
    # files by handle, which passes every directory
    *("name_to_handle_at", "open_by_handle_at"),
    # which memory of the machine is used
    *("mbind", "set_mempolicy", "get_mempolicy", "set_mempolicy_home_node", "migrate_pages", "move_pages"),
)
"""These fail with `EPERM`."""

MISSING: Final = (
    # io_uring does what a filter forbids, past the filter; libraries go on without it
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    "clone3",  # its flags are in memory, where no filter sees them; the C library takes `clone` instead
    *("statmount", "listmount"),
    # memory that belongs to no process: the total of a command's memory would not show it
    *("memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "shmdt"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "semget", "semop", "semtimedop", "semctl"),
)
"""These fail with `ENOSYS`, as on a kernel without them: programs try another way."""

COMPARED: Final = ("clone", "socket", "socketpair", "ioctl", "personality", "setrlimit", "prlimit64")
"""These depend on an argument."""


def _numbers(table: str) -> dict[str, int]:
    """Read a table of names, each followed by its number."""
    words = table.split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}


_SINCE_424: Final = _numbers(
    """
    io_uring_setup 425  io_uring_enter 426  io_uring_register 427  open_tree 428  move_mount 429  fsopen 430
    fsconfig 431  fsmount 432  fspick 433  clone3 435  pidfd_getfd 438  process_madvise 440  mount_setattr 442
    quotactl_fd 443  memfd_secret 447  process_mrelease 448  set_mempolicy_home_node 450  statmount 457
    listmount 458
    """
)


@dataclass(frozen=True)
class Architecture:
    """A kind of processor, as the kernel tells filters of it."""

    audit: int
    """`AUDIT_ARCH_*` of `linux/audit.h`."""
    numbers: dict[str, int]
    """By name; what an architecture never had is left out."""


X86_64: Final = Architecture(
    audit=0xC000003E,
    numbers=_SINCE_424
    | _numbers(
        """
    ioctl 16  shmget 29  shmat 30  shmctl 31  socket 41  socketpair 53  clone 56  semget 64  semop 65
    semctl 66  shmdt 67  msgget 68  msgsnd 69  msgrcv 70  msgctl 71  ptrace 101  syslog 103  uselib 134
    personality 135  ustat 136  sysfs 139  vhangup 153  modify_ldt 154  pivot_root 155  _sysctl 156
    adjtimex 159  setrlimit 160  chroot 161  acct 163  settimeofday 164  mount 165  umount2 166  swapon 167
    swapoff 168  reboot 169  sethostname 170  setdomainname 171  iopl 172  ioperm 173  create_module 174
    init_module 175  delete_module 176  get_kernel_syms 177  query_module 178  quotactl 179  nfsservctl 180
    getpmsg 181  putpmsg 182  afs_syscall 183  tuxcall 184  security 185  lookup_dcookie 212  semtimedop 220
    clock_settime 227  vserver 236  mbind 237  set_mempolicy 238  get_mempolicy 239  kexec_load 246
    add_key 248  request_key 249  keyctl 250  migrate_pages 256  unshare 272  move_pages 279
    perf_event_open 298  fanotify_init 300  prlimit64 302  name_to_handle_at 303  open_by_handle_at 304
    clock_adjtime 305  setns 308  process_vm_readv 310  process_vm_writev 311  kcmp 312  finit_module 313
    memfd_create 319  kexec_file_load 320  bpf 321  userfaultfd 323
        """
    ),
)

AARCH64: Final = Architecture(
    audit=0xC00000B7,
    numbers=_SINCE_424
    | _numbers(
        """
    lookup_dcookie 18  ioctl 29  umount2 39  mount 40  pivot_root 41  nfsservctl 42  chroot 51  vhangup 58
    quotactl 60  acct 89  personality 92  unshare 97  kexec_load 104  init_module 105  delete_module 106
    clock_settime 112  syslog 116  ptrace 117  reboot 142  sethostname 161  setdomainname 162  setrlimit 164
    settimeofday 170  adjtimex 171  msgget 186  msgctl 187  msgrcv 188  msgsnd 189  semget 190  semctl 191
    semtimedop 192  semop 193  shmget 194  shmctl 195  shmat 196  shmdt 197  socket 198  socketpair 199
    add_key 217  request_key 218  keyctl 219  clone 220  swapon 224  swapoff 225  mbind 235
    get_mempolicy 236  set_mempolicy 237  migrate_pages 238  move_pages 239  perf_event_open 241
    prlimit64 261  fanotify_init 262  name_to_handle_at 264  open_by_handle_at 265  clock_adjtime 266
    setns 268  process_vm_readv 270  process_vm_writev 271  kcmp 272  finit_module 273  memfd_create 279
    bpf 280  userfaultfd 282  kexec_file_load 294
        """
    ),
)

ARCHITECTURES: Final = {"x86_64": X86_64, "aarch64": AARCH64}
"""By the machine's name as `uname -m` tells it."""
