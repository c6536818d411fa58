import { deviceDemand, type GivenDevice, type HostDevice, type WishedDevice } from '@xenolith/contracts';
import type { Reply } from '@xenolith/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseDevices } from './device-choice.js';
import { GIB, TestScheduler } from './scheduler.spec-fixture.js';

const gpu = (address: string, model = 'A2', id = '10de:25b6'): HostDevice => ({
  kind: 'pci',
  address,
  model,
  id,
  class: 'gpu',
});
const [FIRST, SECOND] = [gpu('0000:3b:00.0'), gpu('0000:af:00.0', 'L4', '10de:27b8')];
const PARTED: HostDevice = { kind: 'pci', address: '0000:18:00.0', model: 'X710', class: 'net', virtualFunctions: 1 };
const DEVICES = [FIRST, SECOND, PARTED];

const wish = (name: string, by: Partial<WishedDevice>): WishedDevice => ({ name, kind: 'pci', ...by });
const ANY = wish('any', { class: 'gpu' });

const addresses = (given: readonly GivenDevice[] | null): unknown =>
  given?.map(({ name, address }) => `${name} ${address}`) ?? null;

describe('the choice of devices', () => {
  it('goes by class, by model, by vendor and device, and by address', () => {
    const chosen = (by: Partial<WishedDevice>): unknown => addresses(chooseDevices([wish('w', by)], DEVICES));
    expect(chosen({ class: 'gpu' })).toEqual([`w ${FIRST.address}`]);
    expect(chosen({ model: 'L4' })).toEqual([`w ${SECOND.address}`]);
    expect(chosen({ model: '10de:27b8' })).toEqual([`w ${SECOND.address}`]);
    expect(chosen({ address: SECOND.address })).toEqual([`w ${SECOND.address}`]);
    expect(chosen({ model: 'A100' })).toBeNull();
    expect(chosen({ class: 'gpu', count: 3 })).toBeNull();
  });

  it('leaves to each wish what it alone can have', () => {
    expect(addresses(chooseDevices([ANY, wish('first', { model: 'A2' })], DEVICES))).toEqual([
      `any ${SECOND.address}`,
      `first ${FIRST.address}`,
    ]);
  });

  it('finds a way wherever there is one, and gives nothing twice', () => {
    const addressOf = (number: number): string => `0000:0${number}:00.0`;
    const anyWish = fc.record({ by: fc.constantFrom('class', 'model', 'address'), at: fc.nat({ max: 4 }) });
    fc.assert(
      fc.property(
        fc.array(anyWish, { maxLength: 5 }),
        fc.array(fc.nat({ max: 2 }), { maxLength: 5 }),
        (asked, models) => {
          const there = models.map((model, number) => ({ ...gpu(addressOf(number), `m${model}`), id: undefined }));
          const wishes = asked.map(({ by, at }, number) =>
            wish(
              `w${number}`,
              by === 'class' ? { class: 'gpu' } : by === 'model' ? { model: `m${at}` } : { address: addressOf(at) },
            ),
          );
          const fits = (number: number, left: readonly HostDevice[]): boolean => {
            const [head] = wishes.slice(number, number + 1);
            if (head === undefined) return true;
            const may = ({ address, model }: HostDevice): boolean =>
              head.class !== undefined || head.model === model || head.address === address;
            return left.some(
              (device) =>
                may(device) &&
                fits(
                  number + 1,
                  left.filter((other) => other !== device),
                ),
            );
          };
          const chosen = chooseDevices(wishes, there);
          expect(chosen !== null).toBe(fits(0, there as readonly HostDevice[]));
          expect(new Set(chosen?.map(({ address }) => address)).size).toBe(chosen?.length ?? 0);
        },
      ),
    );
  });
});

const placedWith = (wishes: readonly WishedDevice[]) => ({
  hypervisor: 'xen' as const,
  devices: [...wishes],
  resources: deviceDemand(wishes),
});

const told = (reply: Reply): unknown =>
  reply.ok ? addresses(reply.value['devices'] as unknown as readonly GivenDevice[]) : reply.rejection.code;

const started = async (): Promise<TestScheduler> => {
  const scheduler = new TestScheduler();
  scheduler.putHost({ name: 'host-0001', memoryBytes: 16 * GIB, threads: 8, devices: DEVICES });
  await scheduler.start();
  return scheduler;
};

describe('devices of hosts', () => {
  it('are reserved with the host, whatever name they are asked by', async () => {
    const scheduler = await started();
    expect(told(await scheduler.place('a', placedWith([wish('gpu', { address: FIRST.address })])))).toEqual([
      `gpu ${FIRST.address}`,
    ]);
    expect(told(await scheduler.place('b', placedWith([ANY])))).toEqual([`any ${SECOND.address}`]);
    expect(told(await scheduler.place('c', placedWith([wish('w', { model: 'L4' })])))).toBe('placement_pending');
    await scheduler.release('b');
    await scheduler.quiet();
    expect(told(await scheduler.place('c', placedWith([wish('w', { model: 'L4' })])))).toEqual([`w ${SECOND.address}`]);
  });

  it('keep a machine waiting that can have each of its wishes but not all', async () => {
    const scheduler = await started();
    const both = [wish('one', { address: FIRST.address }), wish('other', { model: 'A2' })];
    const reply = await scheduler.place('a', placedWith(both));
    expect(reply).toMatchObject({
      rejection: { message: expect.stringContaining('its devices, all of them') as string },
    });
  });

  it('come to a placed machine and go, and let in who waits for them', async () => {
    const scheduler = await started();
    const change = (name: string, add: readonly WishedDevice[], remove: readonly string[]) =>
      scheduler.send('ChangePlacementDevices', name, { add: [...add], remove: [...remove] });
    await scheduler.place('a');
    expect(told(await change('a', [ANY], []))).toEqual([`any ${FIRST.address}`]);
    expect(told(await change('a', [ANY, wish('more', { class: 'gpu' })], []))).toEqual([
      `any ${FIRST.address}`,
      `more ${SECOND.address}`,
    ]);
    expect(await change('a', [wish('third', { class: 'gpu' })], [])).toMatchObject({
      rejection: {
        code: 'host_lacks_devices',
        message: 'host host-0001 has no free device; 1 pci gpu for third were asked',
      },
    });
    expect(told(await scheduler.place('b', placedWith([ANY])))).toBe('placement_pending');
    expect(told(await change('a', [], ['any']))).toEqual([`more ${SECOND.address}`]);
    await scheduler.quiet();
    expect(told(await scheduler.place('b', placedWith([ANY])))).toEqual([`any ${FIRST.address}`]);
    expect(told(await change('c', [ANY], []))).toBe('placement_unknown');
  });

  it('go to one of those who ask at the same moment', async () => {
    const scheduler = await started();
    const names = ['a', 'b', 'c'];
    await scheduler.settled(Promise.all(names.map((name) => scheduler.place(name, placedWith([ANY])))));
    await scheduler.quiet();
    const now = await Promise.all(names.map((name) => scheduler.place(name, placedWith([ANY]))));
    expect(now.map((reply) => String(told(reply))).sort()).toEqual([
      `any ${FIRST.address}`,
      `any ${SECOND.address}`,
      'placement_pending',
    ]);
  });
});
