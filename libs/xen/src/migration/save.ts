import { PAGE_BYTES, sendingUs } from './rounds.js';

/** Saving, restoring and checkpointing: the stream of a migration, written to a file. */

/** Records of the libxc stream, version 3 (tools/libs/guest/xg_sr_stream_format.h). */
export const STREAM_RECORDS = {
  END: 0x00,
  PAGE_DATA: 0x01,
  X86_PV_INFO: 0x02,
  X86_PV_P2M_FRAMES: 0x03,
  X86_PV_VCPU_BASIC: 0x04,
  X86_PV_VCPU_EXTENDED: 0x05,
  X86_PV_VCPU_XSAVE: 0x06,
  SHARED_INFO: 0x07,
  X86_TSC_INFO: 0x08,
  HVM_CONTEXT: 0x09,
  HVM_PARAMS: 0x0a,
  TOOLSTACK: 0x0b,
  X86_PV_VCPU_MSRS: 0x0c,
  VERIFY: 0x0d,
  CHECKPOINT: 0x0e,
  CHECKPOINT_DIRTY_PFN_LIST: 0x0f,
  STATIC_DATA_END: 0x10,
  X86_CPUID_POLICY: 0x11,
  X86_MSR_POLICY: 0x12,
} as const;
export type StreamRecord = keyof typeof STREAM_RECORDS;

/** `xc_sr_ihdr` and `xc_sr_dhdr`. */
const HEADERS_BYTES = 24 + 16;
/** `xc_sr_rhdr`: type and length. */
const RECORD_HEADER_BYTES = 8;
/** Bodies are padded to it (`REC_ALIGN`). */
const RECORD_ALIGN = 8;
/** Count and reserved word of a PAGE_DATA record (`xc_sr_rec_page_data_header`), before a frame number of 8 bytes for each page. */
const PAGE_DATA_HEADER_BYTES = 8;
const PFN_BYTES = 8;
/** Pages of one PAGE_DATA record (tools/libs/guest/xg_sr_common.h, `MAX_BATCH_SIZE`). */
export const PAGES_PER_BATCH = 1024;

/** One kind of record as often as it follows one another. */
export interface WrittenRecords {
  readonly record: StreamRecord;
  readonly count: number;
  /** With headers and padding, all together. */
  readonly bytes: number;
}

export interface SavedGuest {
  readonly isPv: boolean;
  /** Pages of 4 KiB that hold data. */
  readonly pages: number;
  readonly vcpus: number;
}

const padded = (bodyBytes: number): number => RECORD_HEADER_BYTES + Math.ceil(bodyBytes / RECORD_ALIGN) * RECORD_ALIGN;

const records = (record: StreamRecord, count: number, bodyBytes: number): WrittenRecords => ({
  record,
  count,
  bytes: count * padded(bodyBytes),
});

/** Bytes of PAGE_DATA records for so many pages. */
export const pageDataBytes = (pages: number): number =>
  Math.ceil(pages / PAGES_PER_BATCH) * (RECORD_HEADER_BYTES + PAGE_DATA_HEADER_BYTES) +
  pages * (PFN_BYTES + PAGE_BYTES);

/**
 * Sizes of architectural state. Assumptions: vCPU contexts of the size of `vcpu_guest_context` (5168 bytes) and of an AVX-512 XSAVE area, an HVM context of a few
 * KiB a vCPU, policies of a few dozen leaves.
 */
const STATE_BYTES = {
  cpuidPolicy: 1_536,
  msrPolicy: 64,
  tscInfo: 24,
  sharedInfo: 4_096,
  hvmParams: 8 + 16 * 20,
  hvmContext: 1_024,
  hvmContextPerVcpu: 4_096,
  pvInfo: 8,
  pvVcpuBasic: 8 + 5_168,
  pvVcpuExtended: 8 + 128,
  pvVcpuXsave: 8 + 2_696,
  pvVcpuMsrs: 8 + 64,
} as const;

/**
 * The records of an image in the order in which a save writes them (docs/specs/libxc-migration-stream.pandoc): static data first, then pages, then what only a
 * suspended guest has.
 */
export const imageRecords = (guest: SavedGuest): readonly WrittenRecords[] => {
  const { isPv, pages, vcpus } = guest;
  const pageData: WrittenRecords = {
    record: 'PAGE_DATA',
    count: Math.ceil(pages / PAGES_PER_BATCH),
    bytes: pageDataBytes(pages),
  };
  const policies = [
    records('X86_CPUID_POLICY', 1, STATE_BYTES.cpuidPolicy),
    records('X86_MSR_POLICY', 1, STATE_BYTES.msrPolicy),
    records('STATIC_DATA_END', 1, 0),
  ];
  const end = records('END', 1, 0);
  if (isPv) {
    // First and last frame of the range, then one frame of the list for each 512 pages.
    const p2mFrames = records('X86_PV_P2M_FRAMES', 1, 8 + Math.ceil(pages / 512) * PFN_BYTES);
    return [
      records('X86_PV_INFO', 1, STATE_BYTES.pvInfo),
      ...policies,
      p2mFrames,
      pageData,
      records('X86_TSC_INFO', 1, STATE_BYTES.tscInfo),
      records('SHARED_INFO', 1, STATE_BYTES.sharedInfo),
      records('X86_PV_VCPU_BASIC', vcpus, STATE_BYTES.pvVcpuBasic),
      records('X86_PV_VCPU_EXTENDED', vcpus, STATE_BYTES.pvVcpuExtended),
      records('X86_PV_VCPU_XSAVE', vcpus, STATE_BYTES.pvVcpuXsave),
      records('X86_PV_VCPU_MSRS', vcpus, STATE_BYTES.pvVcpuMsrs),
      end,
    ];
  }
  return [
    ...policies,
    pageData,
    records('X86_TSC_INFO', 1, STATE_BYTES.tscInfo),
    records('HVM_CONTEXT', 1, STATE_BYTES.hvmContext + vcpus * STATE_BYTES.hvmContextPerVcpu),
    records('HVM_PARAMS', 1, STATE_BYTES.hvmParams),
    end,
  ];
};

/** Bytes of the whole image, headers included. */
export const imageBytes = (guest: SavedGuest): number =>
  imageRecords(guest).reduce((sum, { bytes }) => sum + bytes, HEADERS_BYTES);

/** A guest that does not acknowledge a suspend request in this time can't be suspended (xen-api ocaml/xenopsd/lib/xenopsd.ml, suspend ack 30 s). */
export const SUSPEND_ACK_TIMEOUT_US = 30_000_000;
/** And one that acknowledged must have suspended after this (xenopsd, suspend 1200 s). */
export const SUSPEND_TIMEOUT_US = 1_200_000_000;

/** What came of a suspend request at such times; null: it does not come. */
export const suspendOutcome = (guest: {
  readonly requestedUs: number;
  readonly acknowledgedUs: number | null;
  readonly suspendedUs: number | null;
}): { readonly outcome: 'suspended' | 'ackTimeout' | 'timeout'; readonly atUs: number } => {
  const ackDueUs = guest.requestedUs + SUSPEND_ACK_TIMEOUT_US;
  if (guest.acknowledgedUs === null || guest.acknowledgedUs > ackDueUs)
    return { outcome: 'ackTimeout', atUs: ackDueUs };
  const dueUs = guest.acknowledgedUs + SUSPEND_TIMEOUT_US;
  if (guest.suspendedUs === null || guest.suspendedUs > dueUs) return { outcome: 'timeout', atUs: dueUs };
  return { outcome: 'suspended', atUs: guest.suspendedUs };
};

/** `save` ends with the domain destroyed, `checkpoint` with it running on, `restore` builds it anew. */
export type SaveKind = 'save' | 'checkpoint' | 'restore';

/** One step of it, with its duration where that follows from the image. */
export type SaveStep =
  | {
      readonly do:
        'suspendDomain' | 'resumeDomain' | 'destroyDomain' | 'buildShell' | 'restoreDevices' | 'unpauseDomain';
    }
  | { readonly do: 'writeImage' | 'readImage'; readonly bytes: number; readonly durationUs: number };

/**
 * Steps of a save that is not live: the guest stands still while its memory is written (tools/xl/xl_saverestore.c: `xl save`, `xl save -c`, `xl restore`).
 * `storageBytesPerSecond`: what the image's storage takes or gives.
 */
export const saveSteps = (kind: SaveKind, guest: SavedGuest, storageBytesPerSecond: number): readonly SaveStep[] => {
  const bytes = imageBytes(guest);
  const durationUs = sendingUs(bytes, storageBytesPerSecond);
  switch (kind) {
    case 'save':
      return [{ do: 'suspendDomain' }, { do: 'writeImage', bytes, durationUs }, { do: 'destroyDomain' }];
    case 'checkpoint':
      return [{ do: 'suspendDomain' }, { do: 'writeImage', bytes, durationUs }, { do: 'resumeDomain' }];
    case 'restore':
      return [
        { do: 'buildShell' },
        { do: 'readImage', bytes, durationUs },
        { do: 'restoreDevices' },
        { do: 'unpauseDomain' },
      ];
  }
};
