import { describe, expect, it } from 'vitest';
import type { Xenstore } from './index.js';
import { failing, fresh, OK, start, told } from './xenstore.spec-fixture.js';

// The four examples at the head of tools/xenstored/transaction.c, letter by letter.
describe('a transaction', () => {
  const given = (): Xenstore => {
    const store = fresh();
    store.write(0, '/A', 'a');
    store.write(0, '/B', 'b');
    return store;
  };

  it('1: commits what it wrote when what it read did not change', () => {
    const store = given();
    const before = store.state.generation;
    const one = start(store);
    expect(store.read(0, '/A', one)).toMatchObject({ value: 'a' });
    store.write(0, '/B', 'one', one);
    expect(store.transactionEnd(0, one, 'commit').outcome).toEqual(OK);
    expect(store.read(0, '/B')).toMatchObject({ value: 'one' });
    // G goes from 3 to 6: the start, the write, the commit of B.
    expect(store.state.generation - before).toBe(3);
  });

  it('2: is refused when a node that it read was written meanwhile', () => {
    const store = given();
    const one = start(store);
    store.read(0, '/A', one);
    store.write(0, '/A', 'meanwhile');
    store.write(0, '/B', 'one', one);
    expect(store.transactionEnd(0, one, 'commit').outcome).toEqual(failing('EAGAIN'));
    expect(store.read(0, '/B')).toMatchObject({ value: 'b' });
  });

  it('3: is refused when a node that it read was removed meanwhile', () => {
    const store = given();
    const one = start(store);
    store.read(0, '/A', one);
    store.rm(0, '/A');
    store.write(0, '/B', 'one', one);
    expect(store.transactionEnd(0, one, 'commit').outcome).toEqual(failing('EAGAIN'));
  });

  it('4: of two that read what the other writes, only the first commits', () => {
    const store = given();
    const [one, two] = [start(store), start(store)];
    store.read(0, '/A', one);
    store.read(0, '/B', two);
    store.write(0, '/B', 'one', one);
    store.write(0, '/A', 'two', two);
    expect(store.transactionEnd(0, one, 'commit').outcome).toEqual(OK);
    expect(store.transactionEnd(0, two, 'commit').outcome).toEqual(failing('EAGAIN'));
    expect(store.read(0, '/A')).toMatchObject({ value: 'a' });
  });

  it('refuses to remove a node that was made outside after it had found the parent missing: EINVAL, as rm_node answers', () => {
    const store = given();
    const one = start(store);
    store.read(0, '/C/D', one);
    store.mkdir(0, '/C/D/E');
    expect(store.rm(0, '/C/D/E', one).outcome).toEqual(failing('EINVAL'));
    expect(store.transactionEnd(0, one, 'commit').outcome).toEqual(failing('EAGAIN'));
  });

  it('is not disturbed by changes elsewhere, nor by one of which it knew when it looked', () => {
    const store = given();
    const one = start(store);
    store.write(0, '/A', 'before it looked');
    expect(store.read(0, '/A', one)).toMatchObject({ value: 'before it looked' });
    store.write(0, '/C', 'elsewhere');
    store.write(0, '/B', 'one', one);
    expect(store.transactionEnd(0, one, 'commit').outcome).toEqual(OK);
  });

  it('is refused when a node that it wrote was written meanwhile, as writing looks first', () => {
    const store = given();
    const one = start(store);
    store.write(0, '/B', 'one', one);
    store.write(0, '/B', 'meanwhile');
    expect(store.transactionEnd(0, one, 'commit').outcome).toEqual(failing('EAGAIN'));
    expect(store.read(0, '/B')).toMatchObject({ value: 'meanwhile' });
  });

  it('loses no child when two make children of one node', () => {
    const store = given();
    const one = start(store);
    store.write(0, '/A/one', '1', one);
    store.write(0, '/A/two', '2');
    expect(store.transactionEnd(0, one, 'commit').outcome).toEqual(failing('EAGAIN'));
    expect(store.directory(0, '/A')).toMatchObject({ value: ['two'] });
  });

  it('sees what it saw first, whatever others do', () => {
    const store = given();
    store.write(0, '/A/x', '');
    const one = start(store);
    store.directory(0, '/A', one);
    store.write(0, '/A/y', '');
    store.write(0, '/A', 'later');
    expect(store.directory(0, '/A', one)).toMatchObject({ value: ['x'] });
    expect(store.read(0, '/A', one)).toMatchObject({ value: 'a' });
  });

  it('fires its watches when it commits, in the order in which it touched the nodes', () => {
    const store = given();
    store.watch(0, '/A', 'a');
    store.watch(0, '/A/x/y', 'y');
    const one = start(store);
    expect(told(store.write(0, '/A/x/y', '1', one))).toEqual([]);
    expect(told(store.rm(0, '/A/x', one))).toEqual([]);
    expect(told(store.write(0, '/A/z', '2', one))).toEqual([]);
    expect(told(store.write(0, '/A', '3', one))).toEqual([]);
    // Nodes that were made and removed in it never were; nobody is told.
    expect(told(store.transactionEnd(0, one, 'commit'))).toEqual(['0 a /A', '0 a /A/z']);
  });

  it('tells of a node that it wrote and then removed with its parent as of a change with all below', () => {
    const store = given();
    store.write(0, '/A/x/y', '');
    store.watch(0, '/A/x', 'x');
    const one = start(store);
    store.write(0, '/A/x/y', 'new', one);
    store.rm(0, '/A/x', one);
    expect(told(store.transactionEnd(0, one, 'commit'))).toEqual(['0 x /A/x/y', '0 x /A/x']);
  });

  it('leaves nothing when it is aborted, and is unknown after its end', () => {
    const store = given();
    const one = start(store);
    store.write(0, '/N', '1', one);
    expect(store.transactionEnd(0, one, 'abort').outcome).toEqual(OK);
    expect(store.read(0, '/N')).toEqual(failing('ENOENT'));
    expect(store.write(0, '/N', '1', one).outcome).toEqual(failing('ENOENT'));
    expect(store.transactionEnd(0, one, 'commit').outcome).toEqual(failing('ENOENT'));
  });
});
