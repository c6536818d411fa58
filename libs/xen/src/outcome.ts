/** Names of the errors that Xen's hypercalls (xen/include/public/errno.h) and xenstored (public/io/xs_wire.h) answer with. */
export type Errno =
  | 'E2BIG'
  | 'EACCES'
  | 'EAGAIN'
  | 'EBADF'
  | 'EBUSY'
  | 'EEXIST'
  | 'EINVAL'
  | 'EIO'
  | 'EISCONN'
  | 'EISDIR'
  | 'ENODEV'
  | 'ENOENT'
  | 'ENOMEM'
  | 'ENOSPC'
  | 'ENOSYS'
  | 'ENOTCONN'
  | 'ENOTEMPTY'
  | 'EOPNOTSUPP'
  | 'EOVERFLOW'
  | 'EPERM'
  | 'EROFS'
  | 'ESRCH'
  | 'EXDEV';

export interface Failure {
  readonly ok: false;
  readonly errno: Errno;
}

/** What a layer of the emulated host answers. */
export type Outcome<Value> = { readonly ok: true; readonly value: Value } | Failure;

export const done = <Value>(value: Value): Outcome<Value> => ({ ok: true, value });

export const fail = (errno: Errno): Failure => ({ ok: false, errno });
